# Models in files: what libattn_nn makes and io/ writes.

file(GLOB model_sources CONFIGURE_DEPENDS model/*.c)
add_library(attn_model STATIC ${model_sources})
target_include_directories(attn_model PUBLIC model)
target_link_libraries(attn_model PUBLIC attn_nn_static attn_io m)
