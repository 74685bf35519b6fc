/* A QEMU TCG plugin that counts guest instructions and tells the guest.
 *
 *   cc -O2 -shared -fPIC -o instructions.so instructions.c
 *   qemu-aarch64 -plugin ./instructions.so,count=COUNT PROGRAM
 *
 * At a marker, an instruction that does nothing (linux/marker.rs), the count so far is written to the
 * file as 8 bytes, where the program may read it; at the end the file holds the count of the whole
 * program. Needs no QEMU header; for QEMU 9 and newer add -DAPI=4.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef API
#define API 1
#endif

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
typedef struct { const char *target_name; } qemu_info_t; /* the first member; the rest is not read */
typedef void (*vcpu_callback)(unsigned, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, vcpu_callback, int flags, void *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, vcpu_callback, int flags, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
#if API >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#endif

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = API;

static const uint8_t a64[] = {0x1f, 0x2c, 0x03, 0xd5};
static const uint8_t a32[] = {0x60, 0xf0, 0x20, 0xe3};
static const uint8_t x86[] = {0x0f, 0x1f, 0x80, 0xc0, 0xda, 0x00, 0x60};

static uint64_t count;
static int file = -1;
static const uint8_t *marker;
static size_t marker_size;

static void write_down(uint64_t value)
{
    if (pwrite(file, &value, sizeof value, 0) != sizeof value) {
        fprintf(stderr, "instructions: the count cannot be written\n");
        abort();
    }
}

/* Counts a block as it is entered. */
static void on_block(unsigned cpu, void *instructions)
{
    (void)cpu;
    __atomic_fetch_add(&count, (uintptr_t)instructions, __ATOMIC_RELAXED);
}

/* The rest of the block has not run yet. */
static void on_marker(unsigned cpu, void *rest)
{
    (void)cpu;
    write_down(__atomic_load_n(&count, __ATOMIC_RELAXED) - (uintptr_t)rest);
}

static int is_marker(struct qemu_plugin_insn *instruction)
{
    if (marker == NULL || qemu_plugin_insn_size(instruction) != marker_size)
        return 0;
#if API >= 3
    uint8_t bytes[16];
    return qemu_plugin_insn_data(instruction, bytes, marker_size) == marker_size && !memcmp(bytes, marker, marker_size);
#else
    return !memcmp(qemu_plugin_insn_data(instruction), marker, marker_size);
#endif
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t instructions = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, 0, (void *)(uintptr_t)instructions);
    for (size_t index = 0; index < instructions; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);
        if (is_marker(instruction))
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_marker, 0, (void *)(uintptr_t)(instructions - index));
    }
}

static void at_exit(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    write_down(count);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *name = info->target_name;
    if (!strcmp(name, "aarch64"))
        marker = a64, marker_size = sizeof a64;
    else if (!strcmp(name, "arm"))
        marker = a32, marker_size = sizeof a32;
    else if (!strcmp(name, "x86_64"))
        marker = x86, marker_size = sizeof x86;
    for (int index = 0; index < argc; index++)
        if (!strncmp(argv[index], "count=", 6))
            file = open(argv[index] + 6, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) {
        fprintf(stderr, "instructions: give count=PATH, a file that can be written\n");
        return 1;
    }
    write_down(0);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
