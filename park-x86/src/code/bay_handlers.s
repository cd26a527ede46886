# Bay code, continued from bay.s: what NMI, #MC and all other exceptions do to a CPU in the lot.

# ---- handlers of the parked IDT: on IST stacks, resume by stage ------------------------------------------------
.Lnmi_parked:
    mov     rbx, rsp
    and     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAY_MASK}]   # RSP is below the top of its stack, so inside the bay
    inc     dword ptr [rbx + {EVENTS}]
    push    rax
    push    rcx
    lea     rax, [rip + .Lmc_parked]        # #MC does not block NMIs: a #MC handler that has not cleared MCIP yet must not
    lea     rcx, [rip + .Lmc_cleared]       # be abandoned, or the next #MC is a shutdown. Its own frame is on another stack,
    cmp     [rsp + 16], rax                 # and RBX is its RBX, or not needed yet
    jb      .Lnmi_abandon
    cmp     [rsp + 16], rcx
    jae     .Lnmi_abandon
    pop     rcx
    pop     rax
    iretq
.Lnmi_abandon:
    lea     rax, [rip + .Lnmi_parked]       # an NMI inside this handler: an SMI lost the blocking of NMIs (Intel SDM vol. 3,
    lea     rcx, [rip + .Lnmi_abandon]      # "NMI Handling While in SMM"). The first one's frame is gone, and with it the way
    cmp     [rsp + 16], rax                 # back into a #MC handler, perhaps; MCIP is not
    jb      .Lnmi_first
    cmp     [rsp + 16], rcx
    jae     .Lnmi_first
.Lnmi_nested:
    mov     eax, 1                          # only here: CPUID may be slow, or exit to a hypervisor
    cpuid
    mov     rbx, rsp
    and     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAY_MASK}]
    bt      edx, {CPUID_MCA_BIT}            # without MCA there is no IA32_MCG_STATUS, and no #MC
    jnc     .Lnmi_first
    mov     ecx, {MSR_MCG_STATUS}
    rdmsr
    test    al, {MCIP}
    jz      .Lnmi_first
    add     rsp, 16
    jmp     .Lmc_again
.Lnmi_first:
    add     rsp, 16
.Lresume:
    mov     eax, [rbx + {STAGE}]
    lea     rcx, [rip + .Lbay_wait]
    cmp     eax, {WAITING}
    je      .Lresume_at
    lea     rcx, [rip + .Lbay_leave]
    cmp     eax, {LEAVING}
    je      .Lresume_at
    lea     rcx, [rip + .Lbay_leave_by_mailbox]
    cmp     eax, {LEAVING_BY_MAILBOX}
    je      .Lresume_at
    lea     rcx, [rip + .Lbay_home]         # ARRIVING, FAULTED
.Lresume_at:
    push    0                               # a frame of our own, under the one we were given: 40 + 40 = 80 bytes
    lea     rax, [rbx + {FAULT_STACK_TOP}]
    push    rax
    push    2
    push    {CODE_SELECTOR}
    push    rcx
    iretq                                   # leaves the handler for the CPU too: NMIs are unblocked

.Lmc_parked:
    mov     rbx, rsp
    and     rbx, [rip + .Lbay_code - {CODE_OFFSET} + {BAY_MASK}]
    inc     dword ptr [rbx + {MC_COUNT}]
.Lmc_again:
    rdtsc                                   # EDX: an epoch of 2^32 ticks
    cmp     edx, [rbx + {MC_EPOCH}]
    je      .Lmc_row
    mov     [rbx + {MC_EPOCH}], edx
    mov     byte ptr [rbx + {MC_ROW}], 0
.Lmc_row:
    inc     byte ptr [rbx + {MC_ROW}]
    mov     ecx, {MSR_MCG_STATUS}
    rdmsr
    mov     [rbx + {MCG_STATUS}], eax
    mov     [rbx + {MCG_STATUS} + 4], edx
    and     al, {RIPV} | {EIPV}
    cmp     al, {EIPV}                      # the error is this CPU's own, and it cannot be restarted
    je      .Lmc_stop
    cmp     byte ptr [rbx + {MC_ROW}], {MC_ROW_LIMIT}
    jb      .Lmc_clear
.Lmc_stop:
    cmp     dword ptr [rbx + {STAGE}], {FAULTED}
    je      .Lmc_clear                      # keep the first record
    mov     rax, [rbx + {MC_STACK_TOP} - 40]        # RIP in the frame of the #MC, on whichever stack we are
    mov     [rbx + {FAULT_RIP}], rax
    mov     byte ptr [rbx + {FAULT_VECTOR}], 18
    mov     byte ptr [rbx + {FAULT_VALID}], 1
    mov     qword ptr [rbx + {STAGE}], {FAULTED}
.Lmc_clear:
    xor     eax, eax
    xor     edx, edx
    wrmsr                                   # MCIP = 0: until here a second #MC is a shutdown, from here it may overwrite
.Lmc_cleared:                               # our frame, which we do not need
    jmp     .Lresume

# ---- handlers of the arriving IDT: on the interrupted stack, RBX = bay, return ---------------------------------
.Lnmi_arriving:
    inc     dword ptr [rbx + {EVENTS}]
    iretq
.Lmc_arriving:
    push    rax
    push    rcx
    push    rdx
    inc     dword ptr [rbx + {MC_COUNT}]
    mov     ecx, {MSR_MCG_STATUS}
    rdmsr
    mov     [rbx + {MCG_STATUS}], eax
    mov     [rbx + {MCG_STATUS} + 4], edx
.Lmc_return:
    test    al, {RIPV}
    jz      .Lmc_no_return
    xor     eax, eax
    xor     edx, edx
    wrmsr
    pop     rdx
    pop     rcx
    pop     rax
    iretq
.Lmc_no_return:
    xor     eax, eax
    xor     edx, edx
    wrmsr
    pop     rdx
    pop     rcx
    pop     rax
    push    0
    push    18
    jmp     .Lexception

# ---- handlers of the leaving IDT: on the interrupted stack, all registers the owner's, return ------------------
.Lnmi_leaving:
    push    rdx
    call    .Lbay_of_gdtr
    jc      .Lnmi_uncounted                 # the owner has loaded its own GDT
    inc     dword ptr [rdx + {EVENTS}]
.Lnmi_uncounted:
    pop     rdx
    iretq
.Lmc_leaving:
    push    rax
    push    rcx
    push    rdx
    call    .Lbay_of_gdtr
    jc      .Lmc_uncounted
    inc     dword ptr [rdx + {MC_COUNT}]
.Lmc_uncounted:
    mov     ecx, {MSR_MCG_STATUS}
    rdmsr
    jmp     .Lmc_return

# Out: RDX = the bay whose GDT is loaded and CF = 0, or CF = 1.
.Lbay_of_gdtr:
    sub     rsp, 16
    sgdt    [rsp + 6]
    mov     rdx, [rsp + 8]
    add     rsp, 16
# In: RDX = an address. Out: RDX = the bay that it lies in and CF = 0, or CF = 1.
.Lbay_of_address:
    cmp     rdx, [rip + .Lbay_code - {CODE_OFFSET} + {BAYS_START}]
    jb      .Lbay_none                      # CF = 1
    cmp     rdx, [rip + .Lbay_code - {CODE_OFFSET} + {BAYS_END}]
    cmc
    jc      .Lbay_none
    and     rdx, [rip + .Lbay_code - {CODE_OFFSET} + {BAY_MASK}]   # CF = 0
.Lbay_none:
    ret

# ---- all other exceptions, of all three tables: record and stop ------------------------------------------------
    .balign 16
.Lexception_stubs:
    .set    vector, 0
    .rept   32
    .balign 16
    .if     (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push    0                               # vectors without an error code get one
    .endif
    push    vector
    jmp     .Lexception
    .set    vector, vector + 1
    .endr

.Lexception:                                # on the stack: vector, error code, RIP
    mov     rdx, rsp                        # an IST stack: inside a bay
    call    .Lbay_of_address
    jnc     .Lexception_record
    call    .Lbay_of_gdtr                   # leaving, or arriving with the bay's GDT
    jnc     .Lexception_record
    mov     rdx, rbx                        # arriving with the temporary GDT
    call    .Lbay_of_address
    jc      .Lbay_stopped                   # the owner is on its own GDT: nowhere to write
.Lexception_record:
    mov     rbx, rdx
    pop     rcx
    pop     rax
    pop     rdx
    cmp     dword ptr [rbx + {STAGE}], {FAULTED}
    je      .Lexception_stop                # keep the first record
    mov     [rbx + {FAULT}], eax
    mov     [rbx + {FAULT_VECTOR}], cl
    mov     [rbx + {FAULT_RIP}], rdx
    mov     rax, cr2
    mov     [rbx + {FAULT_CR2}], rax
    mov     byte ptr [rbx + {FAULT_VALID}], 1
    mov     qword ptr [rbx + {STAGE}], {FAULTED}
.Lexception_stop:
    lea     rsp, [rbx + {FAULT_STACK_TOP}]  # mapped by every root that can be loaded here
    jmp     .Lbay_tables                    # home, wherever the fault was, and then:
.Lbay_stopped:
    hlt
    jmp     .Lbay_stopped

    .balign 8
    .globl park_bay_code_end
park_bay_code_end:

# Where the builder finds what: offsets from the start of the bay code.
    .balign 4
    .globl park_bay_code_labels
park_bay_code_labels:
    .long   .Lbay_enter - .Lbay_code
    .long   .Lbay_repark - .Lbay_code
    .long   .Lexception_stubs - .Lbay_code
    .long   .Lnmi_parked - .Lbay_code
    .long   .Lmc_parked - .Lbay_code
    .long   .Lnmi_arriving - .Lbay_code
    .long   .Lmc_arriving - .Lbay_code
    .long   .Lnmi_leaving - .Lbay_code
    .long   .Lmc_leaving - .Lbay_code
    .long   .Lbay_home - .Lbay_code
    .long   .Lbay_wait - .Lbay_code
    .long   .Lbay_leave - .Lbay_code
    .long   .Lbay_stopped - .Lbay_code
    .long   .Lnmi_nested - .Lbay_code
    .long   .Lnmi_first - .Lbay_code
    .long   .Lbay_reset - .Lbay_code
