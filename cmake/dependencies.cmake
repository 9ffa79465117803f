# Everything comes from Debian 12's packages; ./dev installs what is missing.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(Protobuf REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)

pkg_check_modules(gnutls REQUIRED IMPORTED_TARGET gnutls)
pkg_check_modules(nettle REQUIRED IMPORTED_TARGET nettle hogweed)
pkg_check_modules(ngtcp2 REQUIRED IMPORTED_TARGET libngtcp2 libngtcp2_crypto_gnutls)

# intel-ipsec-mb exists for x86-64 only and has no pkg-config file. Elsewhere GnuTLS does the work.
find_library(IPSEC_MB_LIBRARY IPSec_MB)
find_path(IPSEC_MB_INCLUDE intel-ipsec-mb.h)
if(IPSEC_MB_LIBRARY AND IPSEC_MB_INCLUDE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_library(ipsec_mb INTERFACE)
  target_link_libraries(ipsec_mb INTERFACE ${IPSEC_MB_LIBRARY})
  target_compile_definitions(ipsec_mb INTERFACE OPENP2P_HAVE_IPSEC_MB=1)
endif()

# Small enough to be part of the program: both are one archive without further dependencies.
function(openp2p_archive target archive header)
  string(TOUPPER ${target} name)
  find_library(${name}_ARCHIVE ${archive} REQUIRED)
  find_path(${name}_INCLUDE ${header} REQUIRED)
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE ${${name}_ARCHIVE})
  target_include_directories(${target} SYSTEM INTERFACE ${${name}_INCLUDE})
endfunction()
openp2p_archive(miniupnpc_static libminiupnpc.a miniupnpc/miniupnpc.h)
openp2p_archive(natpmp_static libnatpmp.a natpmp.h)
