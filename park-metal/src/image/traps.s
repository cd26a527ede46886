# Where interrupts and exceptions arrive. Included by traps.rs.
# Every vector has an IST stack in the CPU's own area, so RSP masked by the area's alignment is the area, whose
# first bytes are the counters (the braces hold offsets in PerCpu). No handler that returns touches an SSE register.

.section .text.metal_traps, "ax"
.code64

# One stub per vector: pushes an error code where the CPU did not, and the vector.
.balign 16
.global metal_trap_stubs
metal_trap_stubs:
.set metal_vector, 0
.rept 256
    .balign 16
    .if metal_vector >= 32 || ((0x60227d00 >> metal_vector) & 1) == 0
        pushq $0                    # vectors 8, 10-14, 17, 21, 29, 30 come with an error code (SDM table 6-1)
    .endif
    pushq $metal_vector
    jmp metal_trap_fatal
    .set metal_vector, metal_vector + 1
.endr

# Nothing of the image expects these: report and end. Never returns, so nothing is saved.
.balign 16
metal_trap_fatal:
    push %rax
    lea metal_probe_rdmsr(%rip), %rax   # probe.s: two instructions that may fault
    cmp %rax, 24(%rsp)              # above RAX: vector, error code, RIP
    je 1f
    lea metal_probe_wrmsr(%rip), %rax
    cmp %rax, 24(%rsp)
    je 1f
    pop %rax
    cld
    mov %rsp, %rdi                  # vector, error code, RIP, CS, RFLAGS, RSP, SS
    mov %cr2, %rsi
    and $-16, %rsp
    call {fatal}
    ud2
1:  lea metal_probe_failed(%rip), %rax
    mov %rax, 24(%rsp)
    pop %rax
    add $16, %rsp
    iretq

# NMI: counted. A plain INC: this CPU alone writes it, and NMIs are blocked until the IRETQ.
.balign 16
.global metal_nmi
metal_nmi:
    push %rdi
    mov %rsp, %rdi
    and $-{AREA_BYTES}, %rdi
    incq {NMI_COUNT}(%rdi)
    cmpq $0, {NMI_CALL}(%rdi)
    jne 1f
    pop %rdi
    iretq
    # A question to silicon runs here, with NMIs blocked. It may use whatever compiled code may.
1:  push %rbp
    mov %rsp, %rbp
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %r8
    push %r9
    push %r10
    push %r11
    sub ${FXSAVE_BYTES}, %rsp
    and $-16, %rsp
    fxsave64 (%rsp)
    cld
    mov {NMI_CALL}(%rdi), %rax
    mov 16(%rbp), %rdi              # above RBP and RDI: the interrupted RIP
    call *%rax
    fxrstor64 (%rsp)
    lea -64(%rbp), %rsp             # the eight registers above
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    pop %rbp
    pop %rdi
    iretq

# Machine check: counted. MCIP is cleared last: a #MC while it is set is a shutdown (SDM vol. 3, 15.3.1.2).
.balign 16
.global metal_machine_check
metal_machine_check:
    push %rax
    push %rcx
    push %rdx
    push %rdi
    mov ${MCG_STATUS}, %ecx
    rdmsr
    mov %rsp, %rdi
    and $-{AREA_BYTES}, %rdi
    mov %rax, {MC_STATUS}(%rdi)
    incq {MC_COUNT}(%rdi)
    test ${RIPV}, %al               # RIPV = 0: the interrupted program can't go on
    jz 1f
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rdi
    pop %rdx
    pop %rcx
    pop %rax
    iretq
1:  add $32, %rsp
    pushq $0
    pushq $18
    jmp metal_trap_fatal

# A fixed interrupt that the image sends itself: counted, then EOI.
.balign 16
.global metal_fixed
metal_fixed:
    push %rax
    push %rdi
    mov %rsp, %rdi
    and $-{AREA_BYTES}, %rdi
    incq {FIXED_COUNT}(%rdi)
metal_eoi:
    # The EOI comes after the count: whoever sees ISR clear sees the count.
    testb $1, {X2APIC_WANTED}(%rip)
    jnz 1f
    mov ${EOI_ADDRESS}, %eax
    movl $0, (%rax)
    jmp 2f
1:  push %rcx
    push %rdx
    mov ${EOI_MSR}, %ecx
    xor %eax, %eax
    xor %edx, %edx                  # any value but 0 is a #GP (SDM vol. 3, table 10-6)
    wrmsr
    pop %rdx
    pop %rcx
2:  pop %rdi
    pop %rax
    iretq

# An interrupt that another kernel sent while the CPU was parked: counted, then EOI.
.balign 16
.global metal_stray
metal_stray:
    push %rax
    push %rdi
    mov %rsp, %rdi
    and $-{AREA_BYTES}, %rdi
    incq {STRAY_COUNT}(%rdi)
    jmp metal_eoi

# The spurious vector: no EOI (SDM vol. 3, 10.9).
.balign 16
.global metal_spurious
metal_spurious:
    iretq
