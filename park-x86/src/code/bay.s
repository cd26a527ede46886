# Bay code: everything that a parked CPU executes.
#
# Position-independent, and held as data: the builder copies it to the lot at CODE_OFFSET, behind the header page,
# which it reads relative to its own RIP. It calls nothing, and addresses nothing but header, bay and mailbox.
#
# RBX = address of the CPU's bay, throughout. The lot is mapped at identity, so addresses are physical ones.
#
# Once the parked IDT is loaded, NMI and #MC handlers *abandon* what they interrupted (but for a #MC handler that has
# not cleared MCIP) and resume by the bay's stage: a frame on an IST stack may be overwritten (an IRET from a #MC inside
# an NMI handler unblocks NMIs: Intel SDM vol. 3, "Nonmaskable Interrupt"), and HLT or MWAIT must not be re-entered
# without a look at the doorbell. So each stage can be restarted from its label, at any instruction, any number of times.

    .balign 16
    .globl park_bay_code_start
park_bay_code_start:
.Lbay_code:

# ---- the way in: from the owner's text -------------------------------------------------------------------------
# In:  RBX = bay, R15 = arrival frame (owner's memory), CR3 = transit root, IDTR = early table in the frame (gates
#      with the owner's CS; handlers count through R15), GDTR and CS = the owner's, RSP = the owner's stack, IF = 0.
.Lbay_enter:
    xor     eax, eax
    mov     ss, eax                         # null SS is legal at CPL 0 in 64-bit mode, and reads no descriptor
    lgdt    [r15 + {FRAME_GDTR}]            # temporary GDT: 64-bit code at the owner's CS selector and at ours
    push    {CODE_SELECTOR}
    lea     rax, [rip + .Lenter_cs]
    push    rax
    retfq                                   # CS = ours; a handler still returns with the CS that it was given
.Lenter_cs:
    xor     eax, eax
    mov     ds, eax                         # null selectors: nothing points into the owner's GDT any more
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    lidt    [rip + .Lbay_code - {CODE_OFFSET} + {IDTR_ARRIVING}]   # handlers in the lot, CS = ours, no IST; RBX = bay
    mov     qword ptr [rbx + {STAGE}], {ARRIVING}
    mov     eax, [r15 + {FRAME_NMI}]        # what the early handlers counted; they cannot run any more
    add     [rbx + {EVENTS}], eax
    mov     eax, [r15 + {FRAME_MC}]
    add     [rbx + {MC_COUNT}], eax

# ---- own GDT, TSS, IDT -----------------------------------------------------------------------------------------
.Lbay_tables:
    and     byte ptr [rbx + {GDT} + {TSS_SELECTOR} + 5], 0xfd      # TSS descriptor: available, or LTR faults
    sub     rsp, 16
    mov     word ptr [rsp + 6], {GDT_LEN} - 1
    lea     rax, [rbx + {GDT}]
    mov     [rsp + 8], rax
    lgdt    [rsp + 6]
    add     rsp, 16
    mov     eax, {TSS_SELECTOR}
    ltr     ax                              # before the parked IDT: its gates take their stacks from this TSS
    lidt    [rip + .Lbay_code - {CODE_OFFSET} + {IDTR_PARKED}]

# ---- stage ARRIVING (and FAULTED): home, restartable -----------------------------------------------------------
.Lbay_home:
    lea     rsp, [rbx + {FAULT_STACK_TOP}]
    mov     rax, [rip + .Lbay_code - {CODE_OFFSET} + {ROOT4}]
    mov     rcx, cr4
    test    ecx, {CR4_LA57}                 # cannot be changed in long mode: the lot has a root for either
    cmovnz  rax, [rip + .Lbay_code - {CODE_OFFSET} + {ROOT5}]
    mov     cr3, rax                        # from here nothing outside the lot is reachable
    push    2
    popfq                                   # NT = 0 (IRETQ would fault), IF, TF, AC, DF = 0
    push    0                               # SS
    lea     rax, [rbx + {FAULT_STACK_TOP}]
    push    rax                             # RSP
    push    2                               # RFLAGS
    push    {CODE_SELECTOR}
    lea     rax, [rip + .Lhome_unblocked]
    push    rax
    iretq                                   # unblocks NMIs, for a CPU that came out of an NMI or #MC handler
.Lhome_unblocked:
    cmp     dword ptr [rbx + {STAGE}], {FAULTED}
    je      .Lbay_stopped
    test    byte ptr [rbx + {WAIT_FLAGS}], {FLAG_WBINVD}
    jz      .Lhome_flushed
    wbinvd                                  # no owner line is dirtied after this
.Lhome_flushed:
    cmp     byte ptr [rbx + {MECHANISM}], {CLGI}
    jne     .Lhome_masked
    mov     ecx, {EFER}
    rdmsr
    or      eax, {EFER_SVME}
    wrmsr
    clgi
.Lhome_masked:
    mov     qword ptr [rbx + {STAGE}], {WAITING}    # the acknowledgement: the last thing of the way in

# ---- stage WAITING: the wait, restartable ----------------------------------------------------------------------
.Lbay_wait:
    inc     dword ptr [rbx + {LAPS}]
    mov     rax, [rbx + {DOORBELL}]
.Lbay_look:                                 # RAX = doorbell
    cmp     ah, {RUNG}
    je      .Lring
    cmp     ah, {CLAIMED}                   # only after a restart: the claim was ours
    je      .Lclaimed
    test    byte ptr [rbx + {WAIT_FLAGS}], {FLAG_MAILBOX}
    jnz     .Lwait_mailbox
    cmp     byte ptr [rbx + {MECHANISM}], {MWAIT}
    je      .Lwait_mwait
    cmp     byte ptr [rbx + {MECHANISM}], {CLGI}
    je      .Lwait_clgi

.Lwait_hlt:
    hlt                                     # an NMI since the look at the doorbell went back to .Lbay_wait
    jmp     .Lbay_wait                      # an NMI may end HLT without being handled (soft-disabled local APIC)

.Lwait_mwait:
    test    byte ptr [rbx + {WAIT_FLAGS}], {FLAG_CLFLUSH}
    jz      .Lmwait_arm
    mfence
    clflush byte ptr [rbx + {DOORBELL}]     # erratum AAI65: MONITOR may miss a store to a cached line
    mfence
.Lmwait_arm:
    lea     rax, [rbx + {DOORBELL}]
    xor     ecx, ecx
    xor     edx, edx
    monitor
    mov     rax, [rbx + {DOORBELL}]         # recheck: a ring before MONITOR does not end MWAIT
    test    ah, ah
    jnz     .Lbay_look
    mov     eax, [rbx + {MWAIT_HINT}]
    mwait                                   # ECX = 0: masked interrupts don't end it
    jmp     .Lbay_wait

.Lwait_clgi:
    mov     ecx, {EFER}
    rdmsr
    or      eax, {EFER_SVME}                # off after a claim that was not to be, or a command that returns
    wrmsr
    clgi
.Lclgi_poll:
    test    byte ptr [rbx + {WAIT_FLAGS}], {FLAG_MONITOR}
    jz      .Lclgi_pause
    lea     rax, [rbx + {DOORBELL}]
    xor     ecx, ecx
    xor     edx, edx
    monitor
    mov     rax, [rbx + {DOORBELL}]
    test    ah, ah
    jnz     .Lbay_look
    mov     eax, [rbx + {MWAIT_HINT}]
    mwait                                   # may return at once for a held event: undocumented, so nothing relies on it
    inc     dword ptr [rbx + {LAPS}]
    jmp     .Lclgi_poll
.Lclgi_pause:
    pause
    mov     rax, [rbx + {DOORBELL}]
    test    ah, ah
    jz      .Lclgi_pause
    jmp     .Lbay_look

# ---- a ring: claim it ------------------------------------------------------------------------------------------
.Lring:                                     # RAX = doorbell, rung
    lea     ecx, [rax - 1]
    cmp     cl, {REPARK} - 1                # commands 1 to REPARK are known
    ja      .Lring_unknown
    cmp     byte ptr [rbx + {MECHANISM}], {CLGI}
    je      .Lring_clgi
.Lring_claim:
    mov     rdx, rax
    mov     dh, {CLAIMED}
    lock cmpxchg [rbx + {DOORBELL}], rdx    # against revoke: exactly one winner
    jne     .Lbay_wait
.Lclaimed:
    mov     byte ptr [rbx + {MC_ROW}], 0    # machine checks are no longer "in a row"
    cmp     al, {CONFIRM}                   # RAX is the doorbell, rung or (after a restart) claimed
    je      .Ldone
    cmp     al, {FLUSH}
    je      .Lflush
    cmp     al, {HOLD}
    je      .Lhold
    mov     qword ptr [rbx + {STAGE}], {LEAVING}    # Wake, Repark

# ---- stage LEAVING: out through the entry, restartable ---------------------------------------------------------
.Lbay_leave:
    mov     rax, [rbx + {ENTRY_CR3}]
    mov     cr3, rax                        # transit root: maps the lot at identity, and the owner
    mov     rdi, [rbx + {ENTRY_ARG}]
    mov     rdx, [rbx + {ENTRY_RIP}]
    mov     rsp, [rbx + {ENTRY_RSP}]
    lidt    [rip + .Lbay_code - {CODE_OFFSET} + {IDTR_LEAVING}]    # from here handlers return to what they interrupted
    jmp     rdx

.Lflush:
    wbinvd
.Ldone:
    mov     rax, [rbx + {DOORBELL}]
    mov     ah, {QUIET}
    mov     [rbx + {DOORBELL}], rax         # a plain store: nobody else changes a claimed doorbell
    jmp     .Lbay_wait
.Lhold:
    mov     rax, [rbx + {DOORBELL}]
    shr     rax, {SEQUENCE_SHIFT}
    cmp     rax, [rbx + {RELEASE}]
    je      .Ldone
    pause
    jmp     .Lhold
.Lring_unknown:                             # a newer version rang: it will revoke
    pause
    jmp     .Lbay_wait

.Lring_clgi:
    mov     ecx, {EFER}
    rdmsr
    btr     eax, {EFER_SVME_BIT}
    jnc     .Lclgi_open                     # already undone: STGI would be #UD on parts without SKINIT
    stgi                                    # held events come now; an INIT takes the CPU *before* it claims
    wrmsr
.Lclgi_open:
    mov     rax, [rbx + {DOORBELL}]         # it may have been revoked meanwhile
    cmp     ah, {RUNG}
    jne     .Lbay_wait
    jmp     .Lring_claim

# ---- the ACPI mailbox as a second doorbell ---------------------------------------------------------------------
# ACPI 6.4, "Multiprocessor Wakeup Structure": command (16 bits) at 0, APIC id (32) at 4, vector (64) at 8.
.Lwait_mailbox:
    mov     rsi, [rip + .Lbay_code - {CODE_OFFSET} + {MAILBOX}]
    cmp     byte ptr [rbx + {MECHANISM}], {MWAIT}
    jne     .Lmailbox_look
    mov     rax, rsi
    xor     ecx, ecx
    xor     edx, edx
    monitor                                 # the command line, not the doorbell: a ring is kicked by NMI
.Lmailbox_look:
    movzx   ecx, word ptr [rsi]
    mov     eax, [rbx + {IDENTITY}]
    cmp     eax, [rsi + 4]
    jne     .Lmailbox_sleep
    cmp     ecx, {MAILBOX_TEST}
    je      .Lmailbox_test
    cmp     ecx, {MAILBOX_WAKEUP}
    jne     .Lmailbox_sleep
    mov     rdx, [rsi + 8]
    mov     rax, rdx
    shr     rax, 32
    jnz     .Lmailbox_sleep                 # outside the departure map: the specification has no error, the OS waits
    mov     [rbx + {MAILBOX_VECTOR}], rdx   # not the entry's RIP: a ring may be on its way
    mov     qword ptr [rbx + {STAGE}], {LEAVING_BY_MAILBOX}
    jmp     .Lbay_leave_by_mailbox
.Lmailbox_test:
    mov     word ptr [rsi], 0
    jmp     .Lbay_wait
.Lmailbox_sleep:
    mov     rax, [rbx + {DOORBELL}]
    test    ah, ah
    jnz     .Lbay_look
    cmp     byte ptr [rbx + {MECHANISM}], {MWAIT}
    jne     .Lmailbox_pause
    mov     eax, [rbx + {MWAIT_HINT}]
    xor     ecx, ecx
    mwait
    jmp     .Lbay_wait
.Lmailbox_pause:
    pause
    jmp     .Lmailbox_look

# ---- stage LEAVING_BY_MAILBOX: restartable ---------------------------------------------------------------------
.Lbay_leave_by_mailbox:
    mov     rsi, [rip + .Lbay_code - {CODE_OFFSET} + {MAILBOX}]
    cmp     word ptr [rsi], {MAILBOX_WAKEUP}        # after a restart the OS may be on to the next CPU
    jne     .Lmailbox_cleared
    mov     eax, [rbx + {IDENTITY}]
    cmp     eax, [rsi + 4]
    jne     .Lmailbox_cleared
    mov     word ptr [rsi], 0               # the vector is copied: this is the OS's acknowledgement
.Lmailbox_cleared:
    mov     rax, [rip + .Lbay_code - {CODE_OFFSET} + {DEPARTURE_ROOT4}]
    mov     rcx, cr4
    test    ecx, {CR4_LA57}
    cmovnz  rax, [rip + .Lbay_code - {CODE_OFFSET} + {DEPARTURE_ROOT5}]
    mov     cr3, rax
    lea     rsp, [rbx + {FAULT_STACK_TOP}]
    mov     rdx, [rbx + {MAILBOX_VECTOR}]
    lidt    [rip + .Lbay_code - {CODE_OFFSET} + {IDTR_LEAVING}]
    jmp     rdx

# ---- moved here from another lot by Repark ---------------------------------------------------------------------
# In:  RDI = new bay, CR3 = transit root that maps both lots, RSP = top of the new bay, CS = ours (the selector is the
#      same in every lot), IDTR = the old lot's leaving table, GDTR and TR = the old bay's.
.Lbay_repark:
    mov     rbx, rdi
    lidt    [rip + .Lbay_code - {CODE_OFFSET} + {IDTR_ARRIVING}]
    mov     qword ptr [rbx + {STAGE}], {ARRIVING}
    jmp     .Lbay_tables

# ---- given back through the ACPI mailbox's reset vector --------------------------------------------------------
# In:  64-bit mode, IF = 0, CR3 = tables of the operating system's that map *this page* at identity, and of the lot perhaps
#      nothing else (Linux 6.12, acpi_mp_setup_reset). All other registers are the operating system's.
# An NMI or #MC is a shutdown from the operating system's CR3 write on until the parked IDT is loaded below, as at any
# firmware's reset vector: nobody's handlers are mapped.
.Lbay_reset:
    cli
    cld
    mov     ecx, {EFER}
    rdmsr
    or      eax, {EFER_NXE}                 # the lot's tables have no-execute bits
    wrmsr
    mov     rcx, cr4
    mov     eax, {CR4_RESET_KEEP}           # PGE, PCIDE, CET, PKS, LASS and FRED off; VMXE and LA57 can't change here
    and     rax, rcx
    or      eax, {CR4_MCE}
    mov     cr4, rax
    lea     rax, [rip + .Lbay_code - {CODE_OFFSET} + {ROOT4_TABLE}]     # the header is not mapped yet
    lea     rdx, [rip + .Lbay_code - {CODE_OFFSET} + {ROOT5_TABLE}]
    test    ecx, {CR4_LA57}
    cmovnz  rax, rdx
    mov     cr3, rax
    xor     eax, eax
    mov     dr7, rax
    cpuid
    cmp     eax, 0xb                        # "Extended Topology": EDX = the whole APIC id, if EBX is not 0 (Intel SDM
    jb      .Lreset_old                     # vol. 2, CPUID)
    mov     eax, 0xb
    xor     ecx, ecx
    cpuid
    test    ebx, ebx
    jnz     .Lreset_search
.Lreset_old:
    mov     eax, 1
    cpuid
    mov     edx, ebx
    shr     edx, 24
.Lreset_search:
    mov     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAYS_START}]
.Lreset_look:
    cmp     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAYS_END}]
    jae     .Lbay_stopped                   # no bay of this lot handed it out
    cmp     edx, [rbx + {IDENTITY}]
    jne     .Lreset_next
    cmp     qword ptr [rbx + {STAGE}], {LEAVING_BY_MAILBOX}
    jne     .Lreset_next
    cmp     byte ptr [rbx + {OWNER}], {RESERVED}
    je      .Lreset_found
.Lreset_next:
    sub     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAY_MASK}]        # the mask is minus the stride
    jmp     .Lreset_look
.Lreset_found:
    lea     rsp, [rbx + {FAULT_STACK_TOP}]
    xor     eax, eax
    mov     ss, eax
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    mov     qword ptr [rbx + {STAGE}], {ARRIVING}
    jmp     .Lbay_tables
