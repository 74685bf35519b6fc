/* Packages and images in the program's read-only data, at multiples of 64 bytes. */
  .macro embed name, file
  .balign 64
  .global \name
  .global \name\()_end
\name:
  .incbin "\file"
\name\()_end:
  .endm

  .section .rodata.packages, "a", %progbits
  embed model, model.coda
  embed base, base.coda
  embed task, task.coda
  embed images, images.bin

#if defined(__linux__) && defined(__ELF__)
  .section .note.GNU-stack, "", %progbits
#endif
