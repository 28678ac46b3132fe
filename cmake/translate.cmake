# Training and translation: libattn_nn, text and model files under one roof, for the commands.

file(GLOB translate_sources CONFIGURE_DEPENDS translate/*.c)
add_library(attn_translate STATIC ${translate_sources})
target_include_directories(attn_translate PUBLIC translate)
target_link_libraries(attn_translate PUBLIC attn_model attn_text)
if(OpenMP_C_FOUND)
    target_link_libraries(attn_translate PRIVATE OpenMP::OpenMP_C)
else()
    target_compile_options(attn_translate PRIVATE -Wno-unknown-pragmas)
endif()
target_link_libraries(attn_command PRIVATE attn_translate)

# The models that the command brings: it finds them in share/attn beside itself or one folder up, in the
# build tree as where it is installed.
file(GLOB shipped_models CONFIGURE_DEPENDS models/*.safetensors)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/share/attn)
foreach(model IN LISTS shipped_models)
    get_filename_component(name ${model} NAME)
    file(CREATE_LINK ${model} ${CMAKE_CURRENT_BINARY_DIR}/share/attn/${name} SYMBOLIC)
endforeach()
