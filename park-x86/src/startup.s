# From a STARTUP IPI in real mode to a 64-bit entry. Copied by startup.rs to a page below 1 MiB, whose last 256 bytes
# startup.rs fills: claim word, GDT, pointers, registers. No data and no relocation here: the real-mode part reaches
# the page by DS = CS, the 64-bit part by RIP.
#
# On entry (Intel SDM vol. 3, "MP Initialization Protocol Algorithm"): real mode, CS = page >> 4, IP = 0, IF = 0.
# CR0.CD is as it was before the INIT; CR4 and EFER are 0. No NMI may come before the entry has loaded an IDT:
# one that was held in wait-for-SIPI comes before the first instruction here, through the real-mode vector 2, which the
# owner points to an IRET (park_core::op::WakeSipi).

    .globl  park_startup_start
    .globl  park_startup_end
    .globl  park_startup_long_mode
    .balign 16
park_startup_start:
.Lstartup_page:
    .code16
    cli                                     # a STARTUP comes with IF = 0; costs nothing
    cld
    mov     ax, cs
    mov     ds, ax                          # DS:0 is the page
.Lstartup_claim:
    xor     ax, ax                          # READY
    mov     dx, {CLAIMED}
    lock cmpxchg word ptr [{CLAIM}], dx     # one CPU at a time uses the parameters
    je      .Lstartup_mine
    pause
    jmp     .Lstartup_claim                 # until the owner has filled the page for the next CPU
.Lstartup_mine:
    lgdtd   [{GDT_POINTER}]                 # operand size 32: a 16-bit LGDT would drop base bits 31:24
    mov     eax, dword ptr [{CR4}]
    mov     cr4, eax                        # PAE, before paging; LA57 can't be changed later
    mov     eax, dword ptr [{CR3}]
    mov     cr3, eax                        # below 4 GiB: MOV has 32 bits here
    mov     ecx, {EFER_MSR}
    mov     eax, dword ptr [{EFER}]
    xor     edx, edx
    wrmsr                                   # LME, NXE
    mov     eax, {CR0}
    mov     cr0, eax                        # PE and PG in one write (Intel SDM vol. 3, "Switching to Protected Mode",
                                            # step 3); CD and NW off. From here compatibility mode, 16 bits
    jmp     fword ptr [{FAR_POINTER}]       # DS still has its real-mode base; CS becomes 64-bit code

    .code64
park_startup_long_mode:
    xor     eax, eax
    mov     ss, eax                         # null selectors are fine at CPL 0 in 64-bit mode
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    lea     rbx, [rip + .Lstartup_page]      # the copy of it: the page
    mov     rcx, qword ptr [rbx + {STAGE_POINTER}]
    test    rcx, rcx
    jz      .Lstartup_no_bay
    mov     qword ptr [rcx], {LEAVING}      # the bay's stage: the CPU is on its way out
.Lstartup_no_bay:
    mov     rsp, qword ptr [rbx + {STACK}]
    mov     rdi, qword ptr [rbx + {ARG}]
    mov     rax, qword ptr [rbx + {ENTRY}]
    mov     word ptr [rbx + {CLAIM}], {READ}    # last: from here the owner may fill the page for the next CPU
    jmp     rax
park_startup_end:
