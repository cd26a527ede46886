# The way of a started CPU from real mode to 64-bit mode. Included by ap_start.rs, copied to the trampoline page.
# On entry (SDM vol. 3, 8.4): real mode, CS = page number << 8, IP = 0, IF = 0, caches off.
# Nothing here may be absolute but what is computed from {TRAMPOLINE}, where the copy lies.

.section .rodata.metal_ap, "a"
.balign 16
.global metal_ap_begin
metal_ap_begin:
.code16
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds                                    # DS:0 is the trampoline page
    lgdtl metal_ap_gdtr - metal_ap_begin
    # SDM vol. 3, 9.8.5 with paging enabled in one step from real mode: CR4.PAE, CR3, EFER.LME, then CR0.PE | PG.
    mov %cr4, %eax
    or ${CR4_BOOT}, %eax
    mov %eax, %cr4
    mov metal_ap_cr3 - metal_ap_begin, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx                           # EFER
    rdmsr
    or ${EFER_BOOT}, %eax
    wrmsr
    mov %cr0, %eax
    and ${CR0_BOOT_CLEAR}, %eax
    or ${CR0_BOOT_SET}, %eax
    mov %eax, %cr0
    ljmpl ${CODE_SELECTOR}, ${TRAMPOLINE} + metal_ap_start64 - metal_ap_begin

.code64
metal_ap_start64:
    mov ${DATA_SELECTOR}, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov metal_ap_stack(%rip), %rsp
    mov metal_ap_argument(%rip), %rdi
    mov metal_ap_entry(%rip), %rax
    xor %ebp, %ebp
    # Last: from here on the page may be filled for the next CPU.
    movl $1, metal_ap_taken(%rip)
    call *%rax                                      # RSP is a multiple of 16 before the call: System V ABI
    ud2

.balign 8
metal_ap_gdt:
    .quad 0
    .quad {DATA}
    .quad {CODE64}
metal_ap_gdt_end:
metal_ap_gdtr:
    .word metal_ap_gdt_end - metal_ap_gdt - 1
    .long {TRAMPOLINE} + metal_ap_gdt - metal_ap_begin
.balign 8
# Filled by ap_start.rs in the copy: struct Parameters.
.global metal_ap_parameters
metal_ap_parameters:
metal_ap_cr3:
    .quad 0
metal_ap_entry:
    .quad 0
metal_ap_stack:
    .quad 0
metal_ap_argument:
    .quad 0
metal_ap_taken:
    .long 0
    .long 0
.global metal_ap_end
metal_ap_end:
