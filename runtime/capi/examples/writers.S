/* Packages that write, in the program's read-only data, at multiples of 64 bytes. */
  .macro embed name, file
  .balign 64
  .global \name
  .global \name\()_end
\name:
  .incbin "\file"
\name\()_end:
  .endm

  .section .rodata.writers, "a", %progbits
  embed texts, texts.coda
  embed pictures, pictures.coda

#if defined(__linux__) && defined(__ELF__)
  .section .note.GNU-stack, "", %progbits
#endif
