// Stands in for an Arduino core in the check of the sketch: what the sketch calls, on stdout.
#ifndef ARDUINO_H
#define ARDUINO_H
#include <stddef.h>
#include <stdio.h>
struct Terminal {
  void begin(long) {}
  void write(const char *text, size_t bytes) { fwrite(text, 1, bytes, stdout); }
  void println(const char *text = "") { puts(text); }
};
static Terminal Serial;
void setup();
void loop();
#endif
