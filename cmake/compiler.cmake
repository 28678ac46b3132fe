# How everything here is compiled. What the core itself needs is in library.cmake.

if(top_level AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

# C11 with GNU extensions: the tile functions use GNU vector types, the command POSIX.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)

if(top_level)
    add_compile_options(-Wall -Wextra -Wconversion -Wshadow -Wvla
                        $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
                        $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()
if(ATTN_WERROR)
    add_compile_options(-Werror)
endif()
if(ATTN_SANITIZE)
    set(sanitize -fsanitize=${ATTN_SANITIZE} -fno-sanitize-recover=all)
    add_compile_options(${sanitize} -fno-omit-frame-pointer -g)
    add_link_options(${sanitize})
endif()
