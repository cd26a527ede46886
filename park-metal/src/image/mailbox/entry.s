# Where the ACPI mailbox's Wakeup leads. Included by page.rs.
# On entry (docs/registers.md, "out: mailbox"): 64-bit mode, IF = 0, the lot's departure map, the bay's GDT and stack, null data
# segments, the lot's leaving IDT.
.section .text.metal_mailbox, "ax"
.code64
.type metal_mailbox_entry, @function
.global metal_mailbox_entry
metal_mailbox_entry:
    mov {NEXT} + 8(%rip), %rax      # the image's own root; it maps what the departure map does
    mov %rax, %cr3
    mov {NEXT}(%rip), %rsp
    mov {NEXT} + 16(%rip), %rdi
    jmp metal_ap_entry
.size metal_mailbox_entry, . - metal_mailbox_entry
