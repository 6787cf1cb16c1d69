// From where QEMU jumps to, in 32-bit mode without paging, to `kernel_main`; and from a start-up interrupt, in 16-bit
// mode, to `kernel_main_of_another`. AT&T syntax.

.set DIRECT_MAP_SLOT, 256           // of the root: 0xffff800000000000
.set KERNEL_SLOT, 511               // of the root: the last 512 GiB
.set KERNEL_GIB, 510                // of the table below: the last GiB but one
.set TABLE, 0x3                     // present, writable
.set LARGE_PAGE, 0x183              // present, writable, large, global
.set CR0, 0x80010013                // PG, WP, ET, MP, PE: WP, so that the kernel's own stores obey the tables
.set CR4, 0x6a0                     // PAE, PGE, OSFXSR, OSXMMEXCPT
.set EFER, 0xc0000080
.set EFER_BITS, 0x901               // LME, NXE, SCE
.set CODE, 8
.set TRAMPOLINE, 0x8000

// How QEMU finds the entry: an ELF note of type 18, XEN_ELFNOTE_PHYS32_ENTRY.
.section .note.pvh, "a", @note
.align 4
.long 4, 8, 18
.asciz "Xen"
.quad boot_entry

.section .boot, "awx", @progbits
.code32
.global boot_entry
boot_entry:
    cli
    cld
    mov %ebx, %edi                  // the start information, physical
    // The first 4 GiB in 2 MiB pages.
    mov $boot_directories, %eax
    mov $LARGE_PAGE, %ecx
    mov $2048, %edx
1:  mov %ecx, (%eax)
    add $0x200000, %ecx
    add $8, %eax
    dec %edx
    jnz 1b
    // Mapped where they are, until all CPUs have come up, and at the direct map;
    mov $boot_directories + TABLE, %ecx
    mov $boot_low_gibs, %eax
    mov $4, %edx
2:  mov %ecx, (%eax)
    add $4096, %ecx
    add $8, %eax
    dec %edx
    jnz 2b
    movl $boot_low_gibs + TABLE, boot_root
    movl $boot_low_gibs + TABLE, boot_root + 8 * DIRECT_MAP_SLOT
    // the first GiB also where the kernel is linked.
    movl $boot_directories + TABLE, boot_high_gibs + 8 * KERNEL_GIB
    movl $boot_high_gibs + TABLE, boot_root + 8 * KERNEL_SLOT

    mov $boot_root, %eax
    mov %eax, %cr3
    mov $CR4, %eax
    mov %eax, %cr4
    mov $EFER, %ecx
    rdmsr
    or $EFER_BITS, %eax
    wrmsr
    mov $CR0, %eax
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $CODE, $3f
.code64
3:  xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    movabs $boot_stack_end, %rsp
    xor %ebp, %ebp
    mov %edi, %edi                  // its upper half is undefined after 32-bit mode
    movabs $kernel_main, %rax
    call *%rax

.align 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff        // 64-bit code
    .quad 0x00cf92000000ffff        // data
boot_gdt_pointer:
    .word 23
    .long boot_gdt

// Copied to TRAMPOLINE, which a start-up interrupt can name.
.align 16
.global trampoline, trampoline_end, trampoline_next_cpu, trampoline_stacks, trampoline_stack_bytes
trampoline:
.code16
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + trampoline_gdt_pointer - trampoline
    mov $CR4, %eax
    mov %eax, %cr4
    mov $boot_root, %eax
    mov %eax, %cr3
    mov $EFER, %ecx
    rdmsr
    or $EFER_BITS, %eax
    wrmsr
    mov $CR0, %eax
    mov %eax, %cr0
    ljmpl $CODE, $(TRAMPOLINE + trampoline_64 - trampoline)
.code64
trampoline_64:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    // CPUs are numbered as they come. The first has come already.
    mov $1, %edi
    lock xadd %edi, TRAMPOLINE + trampoline_next_cpu - trampoline
    // The end of the stack of this number.
    lea 1(%rdi), %rax
    imul TRAMPOLINE + trampoline_stack_bytes - trampoline, %rax
    add TRAMPOLINE + trampoline_stacks - trampoline, %rax
    mov %rax, %rsp
    xor %ebp, %ebp
    movabs $kernel_main_of_another, %rax
    call *%rax

.align 8
trampoline_gdt_pointer:
    .word 23
    .long boot_gdt
.align 8
trampoline_next_cpu: .quad 1
trampoline_stacks: .quad 0
trampoline_stack_bytes: .quad 0
trampoline_end:

// Zero in the file, as the tables must be.
.align 4096
.global boot_root
boot_root: .skip 4096
boot_low_gibs: .skip 4096
boot_high_gibs: .skip 4096
boot_directories: .skip 4 * 4096

.section .bss
.align 4096
.skip 65536
boot_stack_end:
