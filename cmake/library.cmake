# libattn: one set of objects makes the shared and the static library.

file(GLOB core_sources CONFIGURE_DEPENDS src/*/*.c)
add_library(attn_objects OBJECT ${core_sources})
target_include_directories(attn_objects PRIVATE include src)
set_target_properties(attn_objects PROPERTIES POSITION_INDEPENDENT_CODE ON
                                              C_VISIBILITY_PRESET hidden)

# Products and sums are fused where the source says so, and nowhere else: clang would fuse more than
# gcc, and results would depend on the compiler's mood.
target_compile_options(attn_objects PRIVATE -ffp-contract=off)

# What whoever links the static library must link too.
set(core_libraries m)
set(openmp_folders)
if(ATTN_OPENMP)
    find_package(OpenMP COMPONENTS C)
endif()
if(OpenMP_C_FOUND)
    target_link_libraries(attn_objects PRIVATE OpenMP::OpenMP_C)
    list(APPEND core_libraries ${OpenMP_C_LIB_NAMES})
    foreach(name IN LISTS OpenMP_C_LIB_NAMES)
        get_filename_component(folder "${OpenMP_${name}_LIBRARY}" DIRECTORY)
        if(NOT folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
            list(APPEND openmp_folders "${folder}")
        endif()
    endforeach()
else()
    target_compile_options(attn_objects PRIVATE -Wno-unknown-pragmas)
endif()

function(add_core target kind)
    add_library(${target} ${kind} $<TARGET_OBJECTS:attn_objects>)
    target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    # Libraries by name, and the folder of the OpenMP runtime only where the linker would not look
    # by itself, so that the installed package outlives an upgrade of the compiler.
    target_link_libraries(${target} PRIVATE ${core_libraries})
    target_link_directories(${target} PUBLIC ${openmp_folders})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME attn)
endfunction()

add_core(attn SHARED)
set_target_properties(attn PROPERTIES VERSION ${PROJECT_VERSION} 
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
add_core(attn_static STATIC)
set_target_properties(attn_static PROPERTIES EXPORT_NAME static)
add_library(attn::attn ALIAS attn)
add_library(attn::static ALIAS attn_static)
