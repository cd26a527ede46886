# The entry from a multiboot2 loader that has left UEFI's boot services running (specification 2.0, 3.5): 64-bit mode, paging
# at identity by firmware, firmware's stack, RAX = 0x36d76289, RBX = boot information. Included by uefi.rs, which fills in what
# stands in braces. Firmware is done with once {prelude} returns; then back to 32-bit protected mode without paging, and
# on as if the loader had come in by `metal_start32`.

.section .rodata.metal_uefi, "a"
.balign 8
metal_uefi_gdt:
    .quad 0
    .quad {DATA}
    .quad {CODE32}
metal_uefi_gdt_end:
.balign 8
metal_uefi_gdtr:
    .word metal_uefi_gdt_end - metal_uefi_gdt - 1
    .quad metal_uefi_gdt

.section .text.metal_uefi, "ax"
.code64
.global metal_start_uefi
.type metal_start_uefi, @function
metal_start_uefi:
    cld
    mov %rbx, %rdi                  # boot information; firmware and System V agree that RBX and RBP survive the call
    mov %rax, %rbp
    and $-16, %rsp                  # System V wants it aligned before the call
    call {prelude}                  # may run with interrupts: firmware's clock needs them
    cli                             # boot services have ended: nobody handles an interrupt any more
    lgdt metal_uefi_gdtr(%rip)
    lea metal_boot_area + {AREA_BYTES} - 16(%rip), %rsp     # firmware's stack may lie beyond 4 GiB
    lea metal_uefi_compatible(%rip), %rax
    push ${CODE_SELECTOR}
    push %rax
    lretq                           # CS.L = 0: compatibility mode
.code32
metal_uefi_compatible:
    mov ${DATA_SELECTOR}, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    # SDM vol. 3, 9.8.5.4: paging off, from a page at identity; then LME off, and the tables' features with it.
    mov %cr0, %eax
    and ${NOT_PG}, %eax
    mov %eax, %cr0
    mov ${EFER}, %ecx
    rdmsr
    and ${NOT_LME}, %eax
    wrmsr
    xor %eax, %eax
    mov %eax, %cr4                  # metal_start32 sets what it needs
    mov %ebp, %eax                  # the loader's magic number; EBX has its information still
    jmp metal_start32
.size metal_start_uefi, . - metal_start_uefi
