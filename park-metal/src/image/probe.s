# RDMSR and WRMSR that may fault: traps.s sends a fault at one of the two labels to metal_probe_failed. Included by
# probe.rs. System V ABI: arguments in RDI and RSI, result in EAX, 1 if it went well.
.section .text.metal_probe, "ax"
.code64

.global metal_try_rdmsr
.type metal_try_rdmsr, @function
metal_try_rdmsr:
    mov %edi, %ecx
.global metal_probe_rdmsr
metal_probe_rdmsr:
    rdmsr
    shl $32, %rdx
    or %rdx, %rax
    mov %rax, (%rsi)
    mov $1, %eax
    ret

.global metal_try_wrmsr
.type metal_try_wrmsr, @function
metal_try_wrmsr:
    mov %edi, %ecx
    mov %rsi, %rax
    mov %rsi, %rdx
    shr $32, %rdx
.global metal_probe_wrmsr
metal_probe_wrmsr:
    wrmsr
    mov $1, %eax
    ret

.global metal_probe_failed
metal_probe_failed:
    xor %eax, %eax
    ret
