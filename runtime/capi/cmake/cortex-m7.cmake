# A Cortex-M7 with Debian's gcc-arm-none-eabi and picolibc. Its start-up code and semihosting suit the
# emulator and a debugger; a board of yours brings its own.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR cortex-m7)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_ASM_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(_machine "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16 -ffunction-sections -fdata-sections --specs=picolibc.specs")
set(CMAKE_C_FLAGS_INIT "${_machine}")
set(CMAKE_CXX_FLAGS_INIT "${_machine} -fno-exceptions -fno-rtti -fno-threadsafe-statics")
set(CMAKE_ASM_FLAGS_INIT "${_machine}")
# mps2-an500: flash at 0, RAM at 0x20000000.
set(CMAKE_EXE_LINKER_FLAGS_INIT "--oslib=semihost --crt0=semihost -Wl,--gc-sections -Wl,-z,noexecstack -Wl,--defsym=__flash=0 -Wl,--defsym=__flash_size=2M -Wl,--defsym=__ram=0x20000000 -Wl,--defsym=__ram_size=512K -Wl,--defsym=__stack_size=8K")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
