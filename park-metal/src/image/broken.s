# What is added to the lot's code page where it is broken on purpose. Included by broken.rs, which copies it to the end of
# that page and fills in the words. Position-independent.

.section .rodata.metal_broken, "a"
.balign 8
.global metal_broken_start, metal_broken_enter, metal_broken_slow, metal_broken_wait, metal_broken_nmi, metal_broken_end
.code64
metal_broken_start:
spin_ticks:     .quad 0
target:         .quad 0                 # where the code below goes on
bay_mask:       .quad 0

# In place of bay_enter: says that the CPU has arrived, while it still is on its owner's page tables, stack and GDT.
metal_broken_enter:
    movq ${WAITING}, {STAGE}(%rbx)
metal_broken_slow:                      # the control: just as slow, but does not say so
    call spin
    jmp *target(%rip)

# In place of HLT in the wait: a long time between the look at the doorbell and HLT.
metal_broken_wait:
    call spin
    hlt
    jmp *target(%rip)

# In place of the NMI handler: returns to what it interrupted.
metal_broken_nmi:
    push %rbx
    mov %rsp, %rbx
    and bay_mask(%rip), %rbx
    incl {EVENTS}(%rbx)
    pop %rbx
    iretq

spin:                                   # RAX, RCX and RDX are free here and there
    rdtsc
    shl $32, %rdx
    lea (%rdx, %rax), %rcx
1:  pause
    rdtsc
    shl $32, %rdx
    add %rax, %rdx
    sub %rcx, %rdx
    cmp spin_ticks(%rip), %rdx
    jb 1b
    ret
.balign 8
metal_broken_end:
