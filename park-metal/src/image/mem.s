# memcpy, memmove, memset, memcmp, bcmp by the C standard: the compiler emits calls to them.
# RDI, RSI, RDX are the arguments; RFLAGS.DF = 0 by the System V ABI.
.section .text.metal_mem, "ax"
.code64

.global memcpy
.type memcpy, @function
memcpy:
    mov %rdi, %rax                  # returns the destination
    mov %rdx, %rcx
    shr $3, %rcx
    rep movsq                       # 8 bytes at a time: emulators take a step for each
    mov %edx, %ecx
    and $7, %ecx
    rep movsb
    ret
.size memcpy, . - memcpy

.global memmove
.type memmove, @function
memmove:
    mov %rdi, %rax
    mov %rdx, %rcx
    mov %rdi, %r8
    sub %rsi, %r8
    cmp %rdx, %r8                   # unsigned: the destination begins inside the source
    jb 1f
    rep movsb
    ret
1:  lea -1(%rdi, %rdx), %rdi        # then copy from the end down
    lea -1(%rsi, %rdx), %rsi
    std
    rep movsb
    cld                             # the ABI wants DF = 0 again
    ret
.size memmove, . - memmove

.global memset
.type memset, @function
memset:
    mov %rdi, %r8
    mov %esi, %eax
    mov %rdx, %rcx
    rep stosb
    mov %r8, %rax
    ret
.size memset, . - memset

.global memcmp
.global bcmp
.type memcmp, @function
.type bcmp, @function
memcmp:
bcmp:
    mov %rdx, %rcx
    xor %eax, %eax                  # equal, also if RCX = 0; sets ZF for that case
    repe cmpsb
    je 1f
    movzbl -1(%rdi), %ecx
    movzbl -1(%rsi), %eax
    sub %ecx, %eax
1:  ret
.size memcmp, . - memcmp
.size bcmp, . - bcmp
