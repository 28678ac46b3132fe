# libattn_nn: layers and models over the public headers of libattn, and a CBLAS.

pkg_search_module(CBLAS openblas cblas blis blas)
find_path(CBLAS_INCLUDE_DIR cblas.h HINTS ${CBLAS_INCLUDE_DIRS})
if(NOT CBLAS_FOUND OR NOT CBLAS_INCLUDE_DIR)
    message(FATAL_ERROR "libattn_nn needs a CBLAS (Debian: libopenblas-dev). "
                        "Use -DATTN_BUILD_NN=OFF -DATTN_BUILD_CLI=OFF for attention alone.")
endif()

# What whoever links the static library must link too, by name: an installed package outlives paths.
set(nn_libraries ${CBLAS_LIBRARIES} m)
if(OpenMP_C_FOUND)
    list(APPEND nn_libraries ${OpenMP_C_LIB_NAMES})
endif()

file(GLOB nn_sources CONFIGURE_DEPENDS nn/*.c nn/*/*.c)

# add_nn_objects(target [definition...]): the library's objects, of float; or, for tests, of double.
function(add_nn_objects target)
    add_library(${target} OBJECT ${nn_sources})
    target_include_directories(${target} PRIVATE include nn src ${CBLAS_INCLUDE_DIR})
    target_compile_definitions(${target} PRIVATE ${ARGN})
    # As the core is compiled (library.cmake); square roots that set no errno are one instruction.
    target_compile_options(${target} PRIVATE -ffp-contract=off -fno-math-errno)
    if(OpenMP_C_FOUND)
        target_compile_options(${target} PRIVATE ${OpenMP_C_FLAGS})
    else()
        target_compile_options(${target} PRIVATE -Wno-unknown-pragmas)
    endif()
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON
                                               C_VISIBILITY_PRESET hidden)
endfunction()

# add_nn(target kind objects core): a library of these objects, linked with that kind of the core.
function(add_nn target kind objects core)
    add_library(${target} ${kind} $<TARGET_OBJECTS:${objects}>)
    target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(${target} PUBLIC ${core} PRIVATE ${nn_libraries})
    target_link_directories(${target} PUBLIC ${openmp_folders} ${CBLAS_LIBRARY_DIRS})
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
endfunction()

add_nn_objects(attn_nn_objects)
add_nn(attn_nn SHARED attn_nn_objects attn)
set_target_properties(attn_nn PROPERTIES VERSION ${PROJECT_VERSION} EXPORT_NAME nn
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
add_nn(attn_nn_static STATIC attn_nn_objects attn_static)
set_target_properties(attn_nn_static PROPERTIES OUTPUT_NAME attn_nn EXPORT_NAME nn_static)
add_library(attn::nn ALIAS attn_nn)
add_library(attn::nn_static ALIAS attn_nn_static)
if(ATTN_BUILD_TESTS)
    add_nn_objects(attn_nn_double_objects ATTN_NN_DOUBLE)
    add_nn(attn_nn_double STATIC attn_nn_double_objects attn_static)
    target_compile_definitions(attn_nn_double PUBLIC ATTN_NN_DOUBLE)
endif()
