# One folder is one target that names what it may use; nothing is globbed.

add_library(openp2p_flags INTERFACE)
target_compile_options(openp2p_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Werror
  -fvisibility=hidden)
target_include_directories(openp2p_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_compile_definitions(openp2p_flags INTERFACE OPENP2P_VERSION="${PROJECT_VERSION}")

# openp2p_library(NAME SOURCES a.cc ... DEPENDS base ... LIBRARIES PkgConfig::gnutls ...)
# DEPENDS names folders of ours; LIBRARIES are foreign and stay private to the folder.
function(openp2p_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC openp2p_flags ${ARG_DEPENDS} PRIVATE ${ARG_LIBRARIES})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE openp2p_flags ${ARG_DEPENDS} ${ARG_LIBRARIES})
  endif()
endfunction()

# openp2p_test(NAME SOURCES a_test.cc ... DEPENDS base sim ...): one test binary a folder.
function(openp2p_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE openp2p_flags ${ARG_DEPENDS} ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit")
endfunction()

# openp2p_fuzz(NAME SOURCE x_fuzz.cc DEPENDS ...): with OPENP2P_FUZZERS a libFuzzer binary; in every
# other build a test that runs the target over its kept corpus, fuzz/corpus/NAME.
function(openp2p_fuzz name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPENDS;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCE})
  target_link_libraries(${name} PRIVATE openp2p_flags ${ARG_DEPENDS} ${ARG_LIBRARIES})
  if(OPENP2P_FUZZERS)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/fuzz/run_corpus.cc)
    add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/fuzz/corpus/${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 60 LABELS "fuzz")
  endif()
endfunction()
