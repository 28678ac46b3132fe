# The command attn: io/ and cli/ over the public header. The library is linked statically, so that
# the command runs wherever it is put.

file(GLOB io_sources CONFIGURE_DEPENDS io/*.c)
file(GLOB cli_sources CONFIGURE_DEPENDS cli/*.c)

find_package(PkgConfig REQUIRED)
pkg_check_modules(JANSSON IMPORTED_TARGET jansson)
pkg_check_modules(CAIRO IMPORTED_TARGET cairo)
if(NOT JANSSON_FOUND)
    message(FATAL_ERROR "The command attn needs jansson (Debian: libjansson-dev). "
                        "Use -DATTN_BUILD_CLI=OFF for the library alone.")
endif()

# Pages that the command writes lie in its folders as HTML, style and script: STEM.html, .css, .js in
# `folder` become `array` of a C file, which ${output} is set to.
function(embed_page folder stem array header output)
    set(made ${CMAKE_CURRENT_BINARY_DIR}/${header}.c)
    file(GLOB parts CONFIGURE_DEPENDS ${folder}/${stem}.html ${folder}/${stem}.css
         ${folder}/${stem}.js)
    add_custom_command(OUTPUT ${made} DEPENDS ${parts} cmake/embed.cmake VERBATIM
                       COMMAND ${CMAKE_COMMAND} -DFOLDER=${PROJECT_SOURCE_DIR}/${folder}
                               -DSTEM=${stem} -DARRAY=${array} -DHEADER=${header} -DOUTPUT=${made}
                               -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake)
    set(${output} ${made} PARENT_SCOPE)
endfunction()
embed_page(io page io_html_page html_page.h page)
embed_page(cli translate cli_translate_html translate_html.h translate_page)

add_library(attn_io STATIC ${io_sources} ${page})
target_include_directories(attn_io PUBLIC io)
target_link_libraries(attn_io PUBLIC attn_static PkgConfig::JANSSON PRIVATE m)
if(CAIRO_FOUND)
    target_compile_definitions(attn_io PRIVATE ATTN_HAVE_CAIRO)
    target_link_libraries(attn_io PRIVATE PkgConfig::CAIRO)
else()
    message(WARNING "cairo is not installed (Debian: libcairo2-dev): attn show will not write PNG or SVG")
endif()

add_executable(attn_command ${cli_sources} ${translate_page})
target_include_directories(attn_command PRIVATE cli)
target_link_libraries(attn_command PRIVATE attn_io m)
set_target_properties(attn_command PROPERTIES OUTPUT_NAME attn)
