# Owner text: the halves of arriving and of leaving that run in the owner's memory, as part of its kernel.
#
# Position-independent. On metal it is executed where it is linked, in the kernel's text; the simulator copies it into
# simulated kernel memory. R15 = the frame (see frame.rs), a reserved register: the handlers find their counters there.

    .balign 16
    .globl park_owner_text_start
park_owner_text_start:
.Lowner_text:

# ---- arriving: never returns -----------------------------------------------------------------------------------
# In: RDI = arrival frame. CPL 0, IF = 0, sanitised. The frame, this text and the stack are mapped at the same linear
#     addresses by the current root and by the transit root.
.Lowner_arrive:
    cli
    mov     r15, rdi
    mov     rbx, [r15 + {FRAME_BAY}]
    mov     r14, [r15 + {FRAME_FLAGS}]
    test    r14d, {FLAG_CET}
    jz      .Larrive_no_cet
    mov     ecx, {MSR_S_CET}
    xor     eax, eax
    xor     edx, edx
    wrmsr                                   # no shadow stack, no ENDBR tracking: both would reach into the owner
.Larrive_no_cet:
    lidt    [r15 + {FRAME_IDTR}]            # early table: handlers below, the CS that we run on, no IST
    test    r14d, {FLAG_FRED}
    jz      .Larrive_no_fred
    mov     rax, [r15 + {FRAME_CR4_NO_FRED}]
    mov     cr4, rax                        # from here events use that IDT, not the owner's FRED entry
.Larrive_no_fred:
    test    r14d, {FLAG_MCA}
    jz      .Larrive_no_mca
    mov     ecx, {MSR_MCG_STATUS}
    xor     eax, eax
    xor     edx, edx
    wrmsr                                   # MCIP = 0: until here, coming out of a #MC handler, a second #MC is a shutdown
.Larrive_no_mca:
    mov     rax, [r15 + {FRAME_CR4}]
    mov     cr4, rax                        # CET (before CR0.WP may change), LASS, PKS, PGE, PCIDE off; MCE on
    mov     rax, [r15 + {FRAME_CR0}]
    mov     cr0, rax
    mov     rax, [r15 + {FRAME_CR3}]
    mov     cr3, rax                        # transit root; no global or PCID entry survives this
    jmp     qword ptr [r15 + {FRAME_ENTER}] # bay_enter, at identity

# ---- leaving: the entry that bay code jumps to -----------------------------------------------------------------
# In: RDI = departure frame, CS = the lot's, GDTR = the bay's, IDTR = the lot's leaving table, TR = the bay's,
#     CR3 = transit root, RSP = a stack of the owner's.
.Lowner_depart:
    mov     r15, rdi
    lgdt    [r15 + {FRAME_GDTR}]            # temporary GDT: the lot's CS and the owner's
    movzx   eax, word ptr [r15 + {FRAME_CS}]
    push    rax
    lea     rax, [rip + .Ldepart_cs]
    push    rax
    retfq                                   # CS = the owner's
.Ldepart_cs:
    lidt    [r15 + {FRAME_IDTR}]            # early table: handlers below, the owner's CS
    mov     rax, [r15 + {FRAME_CR3}]
    mov     cr3, rax                        # the owner's own root: it must map this text and the frame too
    mov     rsp, [r15 + {FRAME_RSP}]
    lgdt    [r15 + {FRAME_FINAL_GDTR}]
    movzx   eax, word ptr [r15 + {FRAME_SS}]
    mov     ss, eax
    mov     ds, eax
    mov     es, eax
    movzx   eax, word ptr [r15 + {FRAME_TR}]
    test    eax, eax
    jz      .Ldepart_no_tss
    mov     rcx, [r15 + {FRAME_FINAL_GDTR} + 2]
    mov     edx, eax
    and     edx, -8
    and     byte ptr [rcx + rdx + 5], 0xfd  # TSS descriptor: available
    ltr     ax
.Ldepart_no_tss:
    lidt    [r15 + {FRAME_FINAL_IDTR}]
    mov     rax, [r15 + {FRAME_CR0}]
    mov     cr0, rax
    mov     rax, [r15 + {FRAME_CR4}]
    mov     cr4, rax
    mov     rdi, [r15 + {FRAME_ARG}]
    xor     ebp, ebp                        # end of the frame chain
    push    0                               # no return address: RSP as behind a CALL, for compiled code
    jmp     qword ptr [r15 + {FRAME_RIP}]

# ---- handlers of the early table: on the interrupted stack, R15 = frame, return with the CS they were given ----
.Lowner_nmi:
    inc     dword ptr [r15 + {FRAME_NMI}]
    iretq
.Lowner_mc:
    push    rax
    push    rcx
    push    rdx
    inc     dword ptr [r15 + {FRAME_MC}]
    mov     ecx, {MSR_MCG_STATUS}
    rdmsr
    mov     [r15 + {FRAME_MCG_STATUS}], eax
    mov     [r15 + {FRAME_MCG_STATUS} + 4], edx
    test    al, {RIPV}
    jz      .Lowner_mc_no_return
    xor     eax, eax
    xor     edx, edx
    wrmsr                                   # MCIP = 0; a #MC from here nests on this stack
    pop     rdx
    pop     rcx
    pop     rax
    iretq
.Lowner_mc_no_return:
    xor     eax, eax
    xor     edx, edx
    wrmsr
    pop     rdx
    pop     rcx
    pop     rax
    push    0
    push    18
    jmp     .Lowner_exception

    .balign 16
.Lowner_exception_stubs:
    .set    vector, 0
    .rept   32
    .balign 16
    .if     (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push    0                               # vectors without an error code get one
    .endif
    push    vector
    jmp     .Lowner_exception
    .set    vector, vector + 1
    .endr

.Lowner_exception:                          # on the stack: vector, error code, RIP
    pop     rcx
    pop     rax
    pop     rdx
    mov     [r15 + {FRAME_FAULT}], eax
    mov     [r15 + {FRAME_FAULT} + 4], ecx
    mov     [r15 + {FRAME_FAULT_RIP}], rdx
    mov     rax, cr2
    mov     [r15 + {FRAME_FAULT_CR2}], rax
.Lowner_stopped:                            # the owner sees no acknowledgement, and this record
    hlt
    jmp     .Lowner_stopped

    .balign 8
    .globl park_owner_text_end
park_owner_text_end:

    .balign 4
    .globl park_owner_text_labels
park_owner_text_labels:
    .long   .Lowner_arrive - .Lowner_text
    .long   .Lowner_depart - .Lowner_text
    .long   .Lowner_exception_stubs - .Lowner_text
    .long   .Lowner_nmi - .Lowner_text
    .long   .Lowner_mc - .Lowner_text
