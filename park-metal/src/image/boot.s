# The way from the loader into Rust. Included by boot.rs, which fills in what stands in braces.
# One entry serves two protocols, which agree on 32-bit protected mode, flat segments, paging off, IF = 0:
#   PVH (Xen docs/misc/pvh.pandoc)                 EBX = start info, EAX undefined
#   multiboot2 (specification 2.0, 3.3)            EBX = boot information, EAX = 0x36d76289
# EAX goes to Rust as it is: who finds neither magic number there looks at what EBX points to.

# ---------------------------------------------------------------------------------------------------------------
# The note by which a PVH loader finds the entry: name "Xen", type 18 = XEN_ELFNOTE_PHYS32_ENTRY.
.section .note.pvh, "a", @note
.balign 4
    .long 4                         # bytes of the name
    .long 8                         # bytes of the descriptor
    .long 18
    .asciz "Xen"
    .balign 4
    .quad metal_start32

# ---------------------------------------------------------------------------------------------------------------
# The multiboot2 header: 8-byte aligned and in the file's first 32 KiB, so link.ld puts it before all other text.
# ELF loading and the ELF entry are the default (specification 3.1).
.section .text.metal_multiboot2, "a"
.balign 8
metal_multiboot2:
    .long 0xe85250d6                # magic number of a header
    .long 0                         # architecture: 32-bit protected mode of i386
    .long metal_multiboot2_end - metal_multiboot2
    .long -(0xe85250d6 + 0 + (metal_multiboot2_end - metal_multiboot2))
    # UEFI's boot services may be left running, if there are any: uefi.s ends them. Optional for loaders without UEFI.
    .word 7                         # EFI boot services: type,
    .word 1                         # optional,
    .long 8                         # length
    .word 9                         # entry for EFI amd64: type,
    .word 1                         # optional,
    .long 12                        # length,
    .long metal_start_uefi
    .balign 8
    .word 0                         # the end tag: type,
    .word 0                         # flags
    .long 8                         # and its length
metal_multiboot2_end:

# ---------------------------------------------------------------------------------------------------------------
# Page tables: one PML4, one PDPT, four page directories of 2 MiB pages = the low 4 GiB at identity.
.section .bss.metal_boot, "aw", @nobits
.balign 4096
metal_pml4:
    .skip 4096
metal_pdpt:
    .skip 4096
metal_page_directories:
    .skip 4 * 4096

# The boot CPU's area (percpu.rs): its alignment is how handlers find it.
.balign {AREA_BYTES}
.global metal_boot_area
metal_boot_area:
    .skip {AREA_BYTES}

.section .rodata.metal_boot, "a"
.balign 8
metal_boot_gdt:
    .quad 0
    .quad {DATA}
    .quad {CODE64}
metal_boot_gdt_end:
metal_boot_gdtr:
    .word metal_boot_gdt_end - metal_boot_gdt - 1
    .long metal_boot_gdt

# ---------------------------------------------------------------------------------------------------------------
.section .text.metal_boot, "ax"
.code32
.global metal_start32
.type metal_start32, @function
metal_start32:
    cli
    cld
    mov %ebx, %ebp                  # CPUID clobbers EBX; keep the start info in EBP
    mov %eax, %esi                  # and the loader's magic number, if any, in ESI
    lea metal_boot_area + {AREA_BYTES} - 16, %esp

    # Long mode and NX, or nothing below makes sense.
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb metal_no_long_mode
    mov $0x80000001, %eax
    cpuid
    mov %edx, %eax
    and ${LM_AND_NX}, %eax
    cmp ${LM_AND_NX}, %eax
    jne metal_no_long_mode

    movl $metal_pdpt + 0x3, metal_pml4              # present, writable
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shl $12, %eax
    add $metal_page_directories + 0x3, %eax
    mov %eax, metal_pdpt(, %ecx, 8)
    inc %ecx
    cmp $4, %ecx
    jne 1b

    xor %ecx, %ecx                                  # ECX counts 2 MiB pages
2:  mov %ecx, %eax
    shl $21, %eax
    or $0x83, %eax                                  # present, writable, 2 MiB
    cmp $3 * 512, %ecx
    jb 3f
    or $0x18, %eax                                  # from 3 GiB on: PCD, PWT; the local APIC lies there
3:  mov %eax, metal_page_directories(, %ecx, 8)
    inc %ecx
    cmp $4 * 512, %ecx
    jne 2b

    # SDM vol. 3, 9.8.5: CR4.PAE, CR3, EFER.LME, then CR0.PG; any other order faults or stays in legacy mode.
    mov %cr4, %eax
    or ${CR4_BOOT}, %eax                            # PAE, and SSE before any Rust: core uses it
    mov %eax, %cr4
    mov $metal_pml4, %eax
    mov %eax, %cr3
    mov ${EFER}, %ecx
    rdmsr
    or ${EFER_BOOT}, %eax                           # LME, NXE
    wrmsr
    mov %cr0, %eax
    and ${CR0_BOOT_KEEP}, %eax                      # EM = TS = 0: else SSE faults; CD = NW = 0: caches on
    or ${CR0_BOOT_SET}, %eax                        # PE, MP, ET, NE, WP, AM, PG
    mov %eax, %cr0                                  # compatibility mode from here
    lgdt metal_boot_gdtr
    ljmp ${CODE_SELECTOR}, $metal_start64           # CS.L = 1: 64-bit mode

metal_no_long_mode:
    mov ${EXIT_FAILED}, %eax
    mov ${EXIT_PORT}, %dx
    out %eax, %dx
4:  hlt
    jmp 4b

.code64
metal_start64:
    mov ${DATA_SELECTOR}, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov %ebp, %edi                                  # first argument, zero-extended
    mov %esi, %esi                                  # second argument: nothing has touched ESI; zero-extended
    mov %esp, %esp                                  # upper half of RSP is undefined after the mode switch
    xor %ebp, %ebp                                  # the first frame, for whoever walks the stack
    call {main}                                     # RSP is a multiple of 16 before the call: System V ABI
    ud2
.size metal_start32, . - metal_start32
