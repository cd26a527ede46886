# What memory is overwritten with, and where a CPU that executes it lands. Included by sled.rs.

# One page: whoever resumes in it slides to its end and is sent to the recorder with the address of that end.
# Position-independent, since it is copied to every page; the recorder's address is absolute.
.section .rodata.metal_sled, "a"
.balign 4096
.global metal_sled_page
.code64
metal_sled_page:
    .fill 4096 - 19, 1, 0x90            # 7, 10 and 2 bytes follow
metal_sled_tail:
    lea metal_sled_tail(%rip), %rdi     # where, in whatever page this copy lies
    movabs $metal_landed, %rax
    jmp *%rax
.org metal_sled_page + 4096, 0x90      # an error if it is more than a page

# Records APIC id and address and stops the CPU. There is no stack to trust, and none is used.
.section .text.metal_sled, "ax"
.balign 16
metal_landed:
    cli
    mov %rdi, %r8
    mov $1, %eax
    cpuid                               # EBX 31:24: the initial APIC id (SDM vol. 2A, CPUID leaf 1)
    shr $24, %ebx
    mov $1, %eax
    lock xadd %eax, {LANDINGS}(%rip)    # EAX: this landing's number
    cmp ${LANDINGS_MAX}, %eax
    jae 1f
    lea {LANDINGS}(%rip), %rdx
    shl $4, %eax
    add %rax, %rdx
    mov %r8, 24(%rdx)                   # the address first: an id of 0 is a CPU too, an address of 0 is none
    mov %rbx, 16(%rdx)
1:  hlt
    jmp 1b
