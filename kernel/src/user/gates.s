// The ways from user mode into the kernel and back, and from one kernel stack to another. AT&T syntax. What the GS base
// points at is `Block` of `cpu.rs`; what is pushed is `Trap` of `trap.rs`, from its end: 22 words on an
// aligned stack, and then the vectors.

.set BLOCK_KERNEL_STACK, 16
.set BLOCK_USER_STACK, 24
.set USER_DATA, 0x1b
.set USER_CODE, 0x23

.section .text

// What a function gives back as it found it.
.macro SAVE_KEPT
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
.endm
.macro RESTORE_KEPT
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
.endm

// SYSCALL: SDM 2B. RCX is where to return to, R11 the flags; the stack is still the program's, interrupts are masked.
.global syscall_entry
syscall_entry:
    swapgs
    mov %rsp, %gs:BLOCK_USER_STACK
    mov %gs:BLOCK_KERNEL_STACK, %rsp
    pushq $USER_DATA
    pushq %gs:BLOCK_USER_STACK
    push %r11
    pushq $USER_CODE
    push %rcx
    pushq $0
    pushq $0
    SAVE_SCRATCH
    SAVE_KEPT
    SAVE_VECTORS
    mov %rsp, %rdi
    sti
    call on_system_call
    cli
    RESTORE_VECTORS
    RESTORE_KEPT
    RESTORE_SCRATCH
    // RCX and R11 are as at the entry: `on_system_call` changes RAX alone.
    mov 40(%rsp), %rsp
    swapgs
    sysretq

// An interrupt or exception in user mode, on a stack of the gate's, with vector and error code: moves it to the stack of the
// thread, where the handler may be interrupted, and may give the CPU to another thread.
interrupt_entry_from_user:
    swapgs
    push %rax
    mov %rsp, %rax
    mov %gs:BLOCK_KERNEL_STACK, %rsp
    pushq 56(%rax)
    pushq 48(%rax)
    pushq 40(%rax)
    pushq 32(%rax)
    pushq 24(%rax)
    pushq 16(%rax)
    pushq 8(%rax)
    mov (%rax), %rax
    SAVE_SCRATCH
    SAVE_KEPT
    SAVE_VECTORS
    cld
    mov %rsp, %rdi
    call on_interrupt_of_user
    // Fallthrough. Also where a new thread begins, with a `Trap` on its stack.
.global return_to_user
return_to_user:
    cli
    RESTORE_VECTORS
    RESTORE_KEPT
    RESTORE_SCRATCH
    add $16, %rsp                   // the vector and the error code
    swapgs
    iretq

// switch_stacks(*here, there): leaves what a function keeps on this stack, writes where that is to `here`, and goes on with
// what was left on `there`.
.global switch_stacks
switch_stacks:
    SAVE_KEPT
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    RESTORE_KEPT
    ret
