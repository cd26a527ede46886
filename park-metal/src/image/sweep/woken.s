# From a small stack to the CPU's own, as one that has left its bay. Included by sweep/mod.rs.
# On entry: as owner text leaves for compiled code; RDI = the argument. RSP, masked, is the CPU's area.
.section .text.metal_sweep, "ax"
.code64
.global metal_woken_elsewhere
.type metal_woken_elsewhere, @function
metal_woken_elsewhere:
    and $-{AREA_BYTES}, %rsp
    add ${AREA_BYTES} - {STACK_TOP_GAP}, %rsp
    call {woken}                    # RSP is a multiple of 16 before the call: System V ABI
    ud2
.size metal_woken_elsewhere, . - metal_woken_elsewhere
