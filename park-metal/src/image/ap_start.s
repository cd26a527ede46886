# Where park-x86's trampoline leaves a started CPU. Included by ap_start.rs.
# On entry: 64-bit mode, IF = 0, null data segments, a GDT without data segment, the real-mode IDT, RSP = the top of
# the CPU's own stack, a multiple of 16.
.section .text.metal_ap, "ax"
.code64
.type metal_ap_entry, @function
.global metal_ap_entry
metal_ap_entry:
    mov %cr4, %rax                  # SSE before any Rust: core uses it
    or ${CR4_SSE}, %rax
    mov %rax, %cr4
    mov %cr0, %rax
    or ${CR0_EXTRA}, %rax           # what the trampoline leaves off and the boot CPU has
    mov %rax, %cr0
    xor %ebp, %ebp                  # the first frame, for whoever walks the stack
    call {main}                     # RSP is a multiple of 16 before the call: System V ABI
    ud2
.size metal_ap_entry, . - metal_ap_entry
