# Libraries, headers, find_package(attn), pkg-config attn, the command and its manual pages. What is
# installed finds its own files from where it lies, so that the tree may be moved.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/attn)

install(TARGETS attn attn_static EXPORT attn-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
file(GLOB public_headers CONFIGURE_DEPENDS include/attn/*.h)
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

if(TARGET attn_command)
    file(GLOB manual_pages CONFIGURE_DEPENDS man/*.1)
    install(TARGETS attn_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES ${manual_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
