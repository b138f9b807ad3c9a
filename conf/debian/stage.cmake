# SPDX-License-Identifier: ISC
# stage.cmake - what a Debian package has otherwise than `cmake --install`. Run by cpack on the tree
# that it has installed, before it packs it.
set(ROOT ${CPACK_TEMPORARY_DIRECTORY})
set(DOC ${ROOT}/usr/share/doc/outbox-relay)
set(FROM ${CMAKE_CURRENT_LIST_DIR})

# Without a time in it, and as small as can be: the same bytes in each build.
function(compress file)
  execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(GLOB MAN ${ROOT}/usr/share/man/*/*.[58])
foreach(page ${MAN})
  compress(${page})
endforeach()

# The licence is in the file copyright.
file(REMOVE ${DOC}/LICENSE)
file(COPY ${FROM}/copyright ${FROM}/README.Debian DESTINATION ${DOC})
file(RENAME ${DOC}/CHANGES.md ${DOC}/changelog)
compress(${DOC}/changelog)

# The date is SOURCE_DATE_EPOCH's, if that is set.
string(TIMESTAMP DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(${FROM}/changelog.in ${DOC}/changelog.Debian @ONLY)
compress(${DOC}/changelog.Debian)

file(COPY ${FROM}/../outbox-relay.conf DESTINATION ${ROOT}/etc/outbox-relay)
file(COPY ${FROM}/lintian-overrides DESTINATION ${ROOT}/usr/share/lintian/overrides)
file(RENAME ${ROOT}/usr/share/lintian/overrides/lintian-overrides
     ${ROOT}/usr/share/lintian/overrides/outbox-relay)

# Whatever the umask and the permissions of the sources are.
execute_process(COMMAND chmod -R u=rwX,go=rX ${ROOT} COMMAND_ERROR_IS_FATAL ANY)
