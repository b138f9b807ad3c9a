# SPDX-License-Identifier: ISC
# package.cmake - the Debian package: `cpack -G DEB` in the build directory. docs/packages.md
#
# Debian's part of the version is that of the release on which it is built, so that the package of
# Debian 13 replaces that of Debian 12 when the system is upgraded.
if(EXISTS /etc/os-release)
  file(STRINGS /etc/os-release RELEASE REGEX "^(ID|VERSION_ID)=")
  list(TRANSFORM RELEASE REPLACE "[\"]" "")
  string(REGEX REPLACE ".*ID=debian.*" "" OTHER "${RELEASE}")
  if(NOT OTHER AND "${RELEASE}" MATCHES "VERSION_ID=([0-9]+)")
    set(RELEASE "~deb${CMAKE_MATCH_1}u1")
  else()
    set(RELEASE "")
  endif()
endif()
set(DEBIAN_REVISION "1${RELEASE}" CACHE STRING "Debian's part of the package's version")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME outbox-relay)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "relay from a PostgreSQL outbox table to Kafka")
set(CPACK_PACKAGE_DESCRIPTION
"An application inserts an event into the outbox table in the transaction that
changes its data. outbox-relay publishes the event to Kafka at least once and
in order per key, and then removes the row.

It needs no replication slot and no Java. Several relays share an outbox, and
each outlives outages of PostgreSQL and Kafka.")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The authors of outbox-relay <outbox-relay@localhost.localdomain>"
    CACHE STRING "Who maintains the package: NAME <ADDRESS>")
set(CPACK_DEBIAN_PACKAGE_RELEASE ${DEBIAN_REVISION})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "postgresql, kcat")
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_DEBUGINFO_PACKAGE ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
foreach(file conffiles postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/conf/debian/${file})
endforeach()
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/conf/debian/stage.cmake)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
include(CPack)
