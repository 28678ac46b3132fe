# Each example is one file over the public headers, built with the shared library as a user would,
# and run as a test. Those of layers need libattn_nn, if it is built.

file(GLOB example_sources CONFIGURE_DEPENDS examples/*.c)
foreach(source IN LISTS example_sources)
    get_filename_component(name ${source} NAME_WE)
    file(STRINGS ${source} layers REGEX "^#include <attn/(nn|transformer)\\.h>")
    set(library attn::attn)
    if(layers)
        if(NOT TARGET attn_nn)
            continue()
        endif()
        set(library attn::nn)
    endif()
    add_executable(example_${name} ${source})
    target_link_libraries(example_${name} PRIVATE ${library} m)
    set_target_properties(example_${name} PROPERTIES
                          OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY examples)
    if(ATTN_BUILD_TESTS)
        add_test(NAME example_${name} COMMAND ${ATTN_TEST_LAUNCHER} $<TARGET_FILE:example_${name}>)
        set_tests_properties(example_${name} PROPERTIES LABELS example)
    endif()
endforeach()
