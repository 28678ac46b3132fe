# Libraries, headers, find_package(attn), pkg-config attn, the command and its manual pages. What is
# installed finds its own files from where it lies, so that the tree may be moved.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/attn)

install(TARGETS attn attn_static EXPORT attn-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
file(GLOB public_headers CONFIGURE_DEPENDS include/attn/*.h)
if(NOT TARGET attn_nn)
    list(FILTER public_headers EXCLUDE REGEX "/(nn|transformer)\\.h$")
endif()
install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attn)

install(EXPORT attn-targets NAMESPACE attn:: DESTINATION ${package_dir} FILE attn-config.cmake)
write_basic_package_version_file(attn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/attn-config-version.cmake DESTINATION ${package_dir})

file(RELATIVE_PATH include_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
     ${CMAKE_INSTALL_FULL_INCLUDEDIR})
list(TRANSFORM openmp_folders PREPEND "-L" OUTPUT_VARIABLE folder_flags)
list(TRANSFORM core_libraries PREPEND "-l" OUTPUT_VARIABLE library_flags)
list(JOIN folder_flags " " folder_flags)
list(JOIN library_flags " " library_flags)
configure_file(cmake/attn.pc.in attn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/attn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The layers, as a package of their own: find_package(attn_nn), pkg-config attn_nn.
if(TARGET attn_nn)
    set(nn_dir ${CMAKE_INSTALL_LIBDIR}/cmake/attn_nn)
    install(TARGETS attn_nn attn_nn_static EXPORT attn-nn-targets
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
            RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(EXPORT attn-nn-targets NAMESPACE attn:: DESTINATION ${nn_dir})
    configure_file(cmake/attn_nn-config.cmake.in attn_nn-config.cmake @ONLY)
    write_basic_package_version_file(attn_nn-config-version.cmake COMPATIBILITY SameMinorVersion)
    install(FILES ${PROJECT_BINARY_DIR}/attn_nn-config.cmake
                  ${PROJECT_BINARY_DIR}/attn_nn-config-version.cmake DESTINATION ${nn_dir})
    list(TRANSFORM nn_libraries PREPEND "-l" OUTPUT_VARIABLE nn_library_flags)
    list(JOIN nn_library_flags " " nn_library_flags)
    configure_file(cmake/attn_nn.pc.in attn_nn.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/attn_nn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

if(TARGET attn_command)
    file(GLOB manual_pages CONFIGURE_DEPENDS man/*.1)
    install(TARGETS attn_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES ${manual_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES ${shipped_models} DESTINATION share/attn)
endif()
