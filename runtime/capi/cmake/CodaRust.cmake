# coda_rust_target(VARIABLE) and coda_rust_library(...): the library for C, built by cargo. Shared by the
# CMake project, the Zephyr module and the ESP-IDF component.
set(_coda_capi_dir "${CMAKE_CURRENT_LIST_DIR}/..")

# Rust's name of the machine CMake builds for; empty if it is this one.
function(coda_rust_target variable)
  set(triple "")
  if(CMAKE_CROSSCOMPILING)
    set(processor "${CMAKE_SYSTEM_PROCESSOR}")
    if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
      if(processor MATCHES "aarch64|arm64")
        set(triple aarch64-unknown-linux-gnu)
      elseif(processor MATCHES "armv7")
        set(triple armv7-unknown-linux-gnueabihf)
      endif()
    elseif(processor MATCHES "cortex-m(4|7)")
      set(triple thumbv7em-none-eabihf)
    elseif(processor MATCHES "cortex-m(33|55|85)")
      set(triple thumbv8m.main-none-eabihf)
    endif()
    if(NOT triple)
      message(FATAL_ERROR "coda: name the target with -DCODA_RUST_TARGET=..., as `rustc --print target-list` lists it")
    endif()
  endif()
  set(${variable} "${triple}" PARENT_SCOPE)
endfunction()

# Adds the custom target TARGET that runs cargo, and sets TARGET_STATIC, TARGET_SHARED (paths) and the
# variable LIBRARIES (what a program has to link besides). CARGO_ARGS and ENVIRONMENT (NAME=VALUE) go to
# cargo as they are.
function(coda_rust_library)
  cmake_parse_arguments(arg "" "TARGET;TRIPLE;TARGET_DIR;STD;SHARED;SOVERSION;UPDATES;DECODER;LIBRARIES" "CARGO_ARGS;ENVIRONMENT" ${ARGN})
  find_program(CODA_CARGO cargo REQUIRED DOC "cargo, of Rust 1.95 or newer")
  set(types staticlib)
  set(options "")
  if(arg_STD)
    set(features std)
    # What gcc and clang link by themselves is left out.
    set(libraries pthread m dl)
    if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
      set(libraries "")
    endif()
  else()
    set(features panic-handler)
    set(libraries "")
  endif()
  if(arg_UPDATES)
    string(APPEND features ",updates")
  endif()
  if(arg_DECODER)
    string(APPEND features ",decoder")
  endif()
  if(arg_SHARED)
    string(APPEND types ",cdylib")
    set(options -- -Clink-arg=-Wl,-soname,libcoda.so.${arg_SOVERSION})
    # cargo does not know CMake's linker.
    if(arg_TRIPLE)
      list(APPEND options "-Clinker=${CMAKE_C_COMPILER}")
    endif()
  endif()
  set(directory "${arg_TARGET_DIR}/capi")
  set(target "")
  set(machine "this machine")
  if(arg_TRIPLE)
    set(machine "${arg_TRIPLE}")
    set(directory "${arg_TARGET_DIR}/${arg_TRIPLE}/capi")
    set(target --target "${arg_TRIPLE}")
  endif()
  set(products "${directory}/libcoda.a")
  if(arg_SHARED)
    list(APPEND products "${directory}/libcoda.so")
  endif()
  # cargo itself knows what is out of date.
  add_custom_target(${arg_TARGET} ALL
    COMMAND "${CMAKE_COMMAND}" -E env ${arg_ENVIRONMENT} "${CODA_CARGO}" rustc --quiet --locked --lib --profile capi --crate-type ${types}
      --manifest-path "${_coda_capi_dir}/Cargo.toml" --target-dir "${arg_TARGET_DIR}"
      --features ${features} ${target} ${arg_CARGO_ARGS} ${options}
    BYPRODUCTS ${products}
    COMMENT "cargo: libcoda for ${machine}"
    VERBATIM)
  set(${arg_TARGET}_STATIC "${directory}/libcoda.a" PARENT_SCOPE)
  set(${arg_TARGET}_SHARED "${directory}/libcoda.so" PARENT_SCOPE)
  set(${arg_LIBRARIES} "${libraries}" PARENT_SCOPE)
endfunction()
