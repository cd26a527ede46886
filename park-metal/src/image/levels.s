# From four levels of page tables to five. Included by levels.rs, which fills in what stands in braces.
# CR4.LA57 can't be changed in long mode (Intel SDM vol. 3, "Paging-Mode Enabling"): out through a 32-bit segment, and back.

.section .bss.metal_levels, "aw", @nobits
.balign 4096
metal_pml5:
    .skip 4096

.section .rodata.metal_levels, "a"
.balign 8
metal_levels_gdt:
    .quad 0
    .quad {DATA}
    .quad {CODE64}
    .quad {CODE32}
metal_levels_gdt_end:
metal_levels_gdtr:
    .word metal_levels_gdt_end - metal_levels_gdt - 1
    .quad metal_levels_gdt

# ---------------------------------------------------------------------------------------------------------------
# void metal_use_five_levels(void). Only below 4 GiB, at identity, with the PML4 there too; IF = 0. Leaves the GDT above.
.section .text.metal_levels, "ax"
.code64
.global metal_use_five_levels
.type metal_use_five_levels, @function
metal_use_five_levels:
    push %rbx                       # the upper halves of registers are undefined outside 64-bit mode
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %cr3, %rax
    or $0x3, %rax                   # present, writable
    mov %rax, metal_pml5(%rip)      # entry 0 of the PML5: all that was mapped
    lgdt metal_levels_gdtr(%rip)
    pushq ${CODE32_SELECTOR}
    lea 1f(%rip), %rax
    push %rax
    lretq                           # compatibility mode

.code32
1:  mov ${DATA_SELECTOR}, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %cr0, %eax
    and ${NOT_PG}, %eax
    mov %eax, %cr0                  # paging off: out of long mode, EFER.LME stays
    mov %cr4, %eax
    or ${LA57}, %eax
    mov %eax, %cr4
    mov $metal_pml5, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or ${PG}, %eax
    mov %eax, %cr0                  # long mode again
    ljmp ${CODE_SELECTOR}, $2f

.code64
2:  mov %esp, %esp                  # upper half of RSP is undefined after the mode switch
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
.size metal_use_five_levels, . - metal_use_five_levels
