# The waker's stopwatch, the entry that stamps its first instruction, and what hand-written assembly does where park does
# more. Included by stopwatch.rs and rivals.rs, in the syntax of park's bay code, which it stands beside. No stack but the
# caller's; RDI = slot or watch throughout (the braces hold offsets in Slot and Watch).

.section .text.metal_bench, "ax"
.code64

# ---- the waker ------------------------------------------------------------------------------------------------------
# In: RDI = watch. Stamps the beginning, swaps the doorbell, and where no kick is due goes on to look.
    .balign 16
    .globl metal_bench_ring
metal_bench_ring:
    mov     r8, [rdi + {WATCH_DOORBELL}]
    mov     r9, [rdi + {WATCH_RUNG}]
    lfence
    rdtsc
    mov     [rdi + {WATCH_BEGAN}], eax
    mov     [rdi + {WATCH_BEGAN} + 4], edx
    mov     rax, [rdi + {WATCH_QUIET}]
    lock cmpxchg [r8], r9
    mov     [rdi + {WATCH_FOUND}], rax
    cmp     dword ptr [rdi + {WATCH_KICK}], 0
    je      metal_bench_look
    ret

# In: RDI = watch. Stamps when the stage is what is wanted, and when the entry has stored its stamp; gives up after so many
# looks, without harm: call it again.
    .balign 16
    .globl metal_bench_look
metal_bench_look:
    mov     r8, [rdi + {WATCH_STAGE}]
    mov     r9, [rdi + {WATCH_ENTERED}]
    mov     r10d, [rdi + {WATCH_MASK}]
    mov     r11d, [rdi + {WATCH_WANTED}]
    mov     esi, [rdi + {WATCH_LOOKS}]
    cmp     qword ptr [rdi + {WATCH_SEEN}], 0
    jne     .Llook_entered
.Llook_stage:
    mov     eax, [r8]
    and     eax, r10d
    cmp     eax, r11d
    je      .Llook_seen
    cmp     qword ptr [r9], 0               # it can be further already
    jne     .Llook_seen
    pause
    dec     esi
    jnz     .Llook_stage
    ret
.Llook_seen:
    lfence
    rdtsc
    mov     [rdi + {WATCH_SEEN}], eax
    mov     [rdi + {WATCH_SEEN} + 4], edx
.Llook_entered:
    cmp     qword ptr [r9], 0
    jne     .Llook_back
    pause
    dec     esi
    jnz     .Llook_entered
    ret
.Llook_back:
    lfence
    rdtsc
    mov     [rdi + {WATCH_BACK}], eax
    mov     [rdi + {WATCH_BACK} + 4], edx
    ret

# In: RDI = watch, RSI = the word that opens the door, 0 for none. Stamps the beginning of an arrival that waits behind the
# door, when the target runs code of its new place, and when it has acknowledged. Gives up as metal_bench_look does.
    .balign 16
    .globl metal_bench_arrival
metal_bench_arrival:
    mov     r8, [rdi + {WATCH_STAGE}]
    mov     r10d, [rdi + {WATCH_LOOKS}]
    test    rsi, rsi
    jz      .Larrival_look
    lfence
    rdtsc
    mov     [rdi + {WATCH_BEGAN}], eax
    mov     [rdi + {WATCH_BEGAN} + 4], edx
    mov     qword ptr [rsi], {DOOR_OPEN}
.Larrival_look:
    mov     eax, [r8]
    cmp     eax, {WAITING}
    je      .Larrival_over
    cmp     eax, {ARRIVING}
    jne     .Larrival_pause
    cmp     qword ptr [rdi + {WATCH_SEEN}], 0
    jne     .Larrival_pause
    lfence
    rdtsc
    mov     [rdi + {WATCH_SEEN}], eax
    mov     [rdi + {WATCH_SEEN} + 4], edx
.Larrival_pause:
    pause
    dec     r10d
    jnz     .Larrival_look
    ret
.Larrival_over:
    lfence
    rdtsc
    mov     [rdi + {WATCH_BACK}], eax
    mov     [rdi + {WATCH_BACK} + 4], edx
    ret

# ---- the entry --------------------------------------------------------------------------------------------------------
# In: RDI = slot, CR3 = the caller's. The first instruction takes the time.
    .balign 16
    .globl metal_bench_entry
metal_bench_entry:
    rdtsc
    shl     rdx, 32
    or      rax, rdx
    mov     [rdi + {ENTERED}], rax
    pause                                   # where CPUs take turns, the waker's is now
    mov     rax, [rdi + {NEXT}]
    mov     rdi, [rdi + {NEXT_ARG}]
    jmp     rax

# ---- waits, by hand -----------------------------------------------------------------------------------------------------
# extern "C" fn(slot). Each says that it waits, takes a ring by one LOCK CMPXCHG, says so, loads CR3 and jumps to the entry,
# which leads to metal_bench_home.
.macro METAL_SETTLE
    push    rbx
    mov     [rdi + {HOME_RSP}], rsp
.endm

.macro METAL_CLAIM again
    mov     rdx, rax                        # RAX = doorbell, rung
    mov     dh, {CLAIMED}
    lock cmpxchg [rdi + {DOORBELL}], rdx
    jne     \again
    mov     qword ptr [rdi + {STAGE}], {LEAVING}
    mov     rax, [rdi + {CR3}]
    mov     cr3, rax
    jmp     qword ptr [rdi + {ENTRY}]
.endm

    .balign 16
    .globl metal_bench_pause
metal_bench_pause:
    METAL_SETTLE
    mov     qword ptr [rdi + {STAGE}], {WAITING}
.Lpause_look:
    pause
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jz      .Lpause_look
    METAL_CLAIM .Lpause_look

    .balign 16
    .globl metal_bench_mwait
metal_bench_mwait:
    METAL_SETTLE
    mov     qword ptr [rdi + {STAGE}], {WAITING}
.Lmwait_arm:
    mov     rax, rdi                        # the doorbell is the slot's first word
    xor     ecx, ecx
    xor     edx, edx
    monitor
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jnz     .Lmwait_claim
    mov     eax, [rdi + {HINT}]
    mwait
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jz      .Lmwait_arm
.Lmwait_claim:
    METAL_CLAIM .Lmwait_arm

# An NMI between look and HLT is lost: the waker sends another one. That is what park's bay code is longer for.
    .balign 16
    .globl metal_bench_hlt
metal_bench_hlt:
    METAL_SETTLE
    mov     qword ptr [rdi + {STAGE}], {WAITING}
.Lhlt_look:
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jnz     .Lhlt_claim
    hlt
    jmp     .Lhlt_look
.Lhlt_claim:
    METAL_CLAIM .Lhlt_look

    .balign 16
    .globl metal_bench_clgi
metal_bench_clgi:
    METAL_SETTLE
    mov     ecx, {EFER}
    rdmsr
    or      eax, {EFER_SVME}
    wrmsr
    clgi
    mov     qword ptr [rdi + {STAGE}], {WAITING}
.Lclgi_look:
    pause
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jz      .Lclgi_look
    mov     ecx, {EFER}
    rdmsr
    and     eax, ~{EFER_SVME}
    stgi                                    # held events come before the claim, as park has it
    wrmsr
.Lclgi_again:
    mov     rax, [rdi + {DOORBELL}]         # it may have been revoked meanwhile
    test    ah, ah
    jz      .Lclgi_again
    METAL_CLAIM .Lclgi_again

# ---- an arrival, by hand --------------------------------------------------------------------------------------------
# The register writes of park's owner text and bay code in their order, with the CPU's own tables, root and stack where park
# has the lot's; then a PAUSE loop. Nothing is looked at, counted or made restartable.
    .balign 16
    .globl metal_bench_park
metal_bench_park:
    METAL_SETTLE
    cli
    lidt    [rdi + {IDTR}]
    mov     ecx, {MSR_MCG_STATUS}
    xor     eax, eax
    xor     edx, edx
    wrmsr
    mov     rax, [rdi + {CR4_PARKED}]
    mov     cr4, rax
    mov     rax, [rdi + {CR0_PARKED}]
    mov     cr0, rax
    mov     rax, [rdi + {CR3}]
    mov     cr3, rax
    xor     eax, eax
    mov     ss, eax
    lgdt    [rdi + {GDTR}]
    push    {CODE_SELECTOR}
    lea     rcx, [rip + .Lpark_cs]
    push    rcx
    retfq
.Lpark_cs:
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    lidt    [rdi + {IDTR}]
    mov     rcx, [rdi + {GDTR} + 2]
    and     byte ptr [rcx + {TSS_SELECTOR} + 5], 0xfd
    lgdt    [rdi + {GDTR}]
    mov     eax, {TSS_SELECTOR}
    ltr     ax
    lidt    [rdi + {IDTR}]
    mov     rax, [rdi + {CR3}]
    mov     cr3, rax
    push    2
    popfq
    mov     rax, rsp
    push    0
    push    rax
    push    2
    push    {CODE_SELECTOR}
    lea     rax, [rip + .Lpark_unblocked]
    push    rax
    iretq
.Lpark_unblocked:
    mov     qword ptr [rdi + {STAGE}], {WAITING}
.Lpark_look:
    pause
    mov     rax, [rdi + {DOORBELL}]
    test    ah, ah
    jz      .Lpark_look
    mov     rcx, [rdi + {CR4_OWN}]          # before the claim: the entry is compiled for the owner's registers
    mov     cr4, rcx
    mov     rcx, [rdi + {CR0_OWN}]
    mov     cr0, rcx
    mov     ecx, {DATA_SELECTOR}
    mov     ss, ecx
    mov     ds, ecx
    mov     es, ecx
.Lpark_again:
    mov     rax, [rdi + {DOORBELL}]
    METAL_CLAIM .Lpark_again

# In: RDI = slot. Back to whoever called the wait.
    .balign 16
    .globl metal_bench_home
metal_bench_home:
    mov     rsp, [rdi + {HOME_RSP}]
    pop     rbx
    ret
