// The way into and out of every interrupt and exception, and the two instructions that may fault. AT&T syntax.

.section .text

// What a function may change without giving it back.
.macro SAVE_SCRATCH
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
.endm
.macro RESTORE_SCRATCH
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
.endm
// On an aligned stack.
.macro SAVE_VECTORS
    sub $512, %rsp
    fxsave64 (%rsp)
.endm
.macro RESTORE_VECTORS
    fxrstor64 (%rsp)
    add $512, %rsp
.endm

// One stub a vector: all reach `interrupt_entry` with the same things on the stack.
.macro STUB vector
.align 16
interrupt_stub_\vector:
    // These push an error code themselves: SDM 3A, table "Protected-Mode Exceptions and Interrupts".
    .if !(\vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21)
    pushq $0
    .endif
    pushq $\vector
    jmp interrupt_entry
.endm
.macro STUB_ADDRESS vector
    .quad interrupt_stub_\vector
.endm
.altmacro
.macro FOR_EACH_VECTOR what
.set vector, 0
.rept 256
    \what %vector
    .set vector, vector + 1
.endr
.endm

FOR_EACH_VECTOR STUB

// Every gate switches to a stack of its own, so the red zone of what was interrupted is left alone. `core` is compiled
// with SSE, so its registers are saved too. The order of the pushes is that of `Interrupted`, from its end.
interrupt_entry:
    testb $3, 24(%rsp)              // the privilege that was left
    jnz interrupt_entry_from_user
    SAVE_SCRATCH
    push %rbp
    mov %rsp, %rbp
    mov %rsp, %rdi
    sub $512, %rsp
    and $-16, %rsp
    fxsave64 (%rsp)
    cld
    call on_interrupt
    fxrstor64 (%rsp)
    mov %rbp, %rsp
    pop %rbp
    RESTORE_SCRATCH
    add $16, %rsp                   // the vector and the error code
    iretq

// The one that must be fast: it saves no more than what `on_kick` may change, and needs no vector and no error code. The
// stack is aligned to 16 bytes, since the CPU does that before it pushes five words, and nine more make it fourteen. It never
// gives the CPU to another thread, so it stays on the gate's stack, from wherever it comes.
.macro SERVE_KICK
    SAVE_SCRATCH
    SAVE_VECTORS
    cld
    call on_kick
    RESTORE_VECTORS
    RESTORE_SCRATCH
.endm
.global kick_entry
kick_entry:
    testb $3, 8(%rsp)               // the privilege that was left
    jnz 1f
    SERVE_KICK
    iretq
1:  swapgs
    SERVE_KICK
    swapgs
    iretq

// bool access_load(address, *value) and bool access_store(address, value): false if it faulted. The fault is the first
// instruction's, with the stack as at the entry, so the handler only has to change where it returns to.
.global access_load, access_store, access_faulted
access_load:
    mov (%rdi), %rax
    mov %rax, (%rsi)
    mov $1, %eax
    ret
access_store:
    mov %rsi, (%rdi)
    mov $1, %eax
    ret
access_faulted:
    xor %eax, %eax
    ret

.section .rodata
.align 8
.global interrupt_stubs
interrupt_stubs:
    FOR_EACH_VECTOR STUB_ADDRESS
.noaltmacro
