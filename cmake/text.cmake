# Text: lines, subwords, metrics and word alignments, for the commands that translate. It is C but for
# one file, which is compiled where SentencePiece and a C++ compiler are there.

file(GLOB text_sources CONFIGURE_DEPENDS text/*.c)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(SENTENCEPIECE IMPORTED_TARGET sentencepiece)

option(ATTN_SENTENCEPIECE "Split sentences into subwords by SentencePiece, if it is there" ON)

# The C++ compiler that belongs to the C compiler: both are given the same options. (CMake 3.25 refuses to
# name a group that took no part in a match, so the version is one that may be empty.)
set(have_subwords OFF)
if(SENTENCEPIECE_FOUND AND ATTN_SENTENCEPIECE)
    if(NOT CMAKE_CXX_COMPILER AND NOT DEFINED ENV{CXX})
        string(REGEX REPLACE "gcc([-0-9]*)$" "g++\\1" sibling "${CMAKE_C_COMPILER}")
        string(REGEX REPLACE "clang([-0-9]*)$" "clang++\\1" sibling "${sibling}")
        if(NOT sibling STREQUAL CMAKE_C_COMPILER AND EXISTS "${sibling}")
            set(CMAKE_CXX_COMPILER "${sibling}")
        endif()
    endif()
    include(CheckLanguage)
    check_language(CXX)
    if(CMAKE_CXX_COMPILER)
        enable_language(CXX)
        set(have_subwords ON)
    endif()
endif()

add_library(attn_text STATIC ${text_sources})
target_include_directories(attn_text PUBLIC text)
target_link_libraries(attn_text PUBLIC attn_io PRIVATE PkgConfig::ZLIB m)
if(have_subwords)
    target_sources(attn_text PRIVATE text/subword.cpp)
    set_property(SOURCE text/subword_none.c PROPERTY HEADER_FILE_ONLY ON)
    set_property(TARGET attn_text PROPERTY CXX_STANDARD 17)
    target_compile_definitions(attn_text PUBLIC ATTN_HAVE_SENTENCEPIECE)
    target_link_libraries(attn_text PRIVATE PkgConfig::SENTENCEPIECE)
elseif(ATTN_SENTENCEPIECE)
    message(WARNING "SentencePiece or a C++ compiler is not installed (Debian: libsentencepiece-dev, "
                    "g++): the command will not translate")
endif()
