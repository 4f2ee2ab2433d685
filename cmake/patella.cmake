# Compiler settings, third-party targets and the helpers that every CMakeLists.txt here uses.
#
#   patella_library(NAME base SOURCES a.cc DEPS patella::http absl::status)     -> patella_base, alias patella::base
#   patella_program(NAME patella-engine SOURCES main.cc DEPS ...)               -> build/<preset>/bin/patella-engine
#   patella_test(NAME limiter_test SOURCES limiter_test.cc DEPS ... [LABELS check])
#   patella_integration_test(NAME watch_test SOURCES watch_test.cc DEPS ...)    -> against a real kube-apiserver
#
# DEPS are linked PUBLIC for libraries: what a library links is what its includers may include. The arrows drawn by these lists
# are checked against the #include lines by tools/check_includes.py.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)  # one Boost a process: libcpprest brings its own copy of Boost.Asio symbols
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(THREADS_PREFER_PTHREAD_FLAG ON)

add_compile_options(-Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # clang builds the fuzz targets alone
  add_compile_options(-Werror)
  # GCC 12 warns falsely inside its own headers once sanitizers or -O3 rearrange them (PR 105562, 105329).
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized)
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Protobuf REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)

# Beast and Asio 1.74: header-only use; GCC 12 no longer brings <utility> in by accident.
add_library(patella_beast INTERFACE)
target_compile_options(patella_beast INTERFACE "SHELL:-include utility")
target_compile_definitions(patella_beast INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_BEAST_USE_STD_STRING_VIEW)
target_link_libraries(patella_beast INTERFACE Threads::Threads)

function(patella_library)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  if(A_SOURCES)
    add_library(patella_${A_NAME} STATIC ${A_SOURCES})
    target_include_directories(patella_${A_NAME} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(patella_${A_NAME} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
  else()
    add_library(patella_${A_NAME} INTERFACE)
    target_include_directories(patella_${A_NAME} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(patella_${A_NAME} INTERFACE ${A_DEPS})
  endif()
  add_library(patella::${A_NAME} ALIAS patella_${A_NAME})
endfunction()

function(patella_program)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  target_include_directories(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${A_NAME} PRIVATE PATELLA_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${A_NAME} PRIVATE ${A_DEPS})
endfunction()

# LABELS: "check" (default; no root, network, model or timing) or "model" (needs the demo model in PATELLA_CACHE).
function(patella_test)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT A_LABELS)
    set(A_LABELS check)
  endif()
  add_executable(${A_NAME} ${A_SOURCES})
  set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${A_NAME} PRIVATE PATELLA_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/testdata")
  target_link_libraries(${A_NAME} PRIVATE ${A_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${A_NAME} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS "${A_LABELS}" TIMEOUT 300)
endfunction()

# A test that runs against the real Kubernetes control plane of tests/integration (label "integration"; one control
# plane a CTest run, a namespace of its own a test). SOURCES make a GoogleTest program, COMMAND is run as it stands
# (python3 x.py). The environment of both has PATELLA_KUBECONFIG, PATELLA_KUBECTL and what else
# tests/integration/README.md lists. ALONE: no other test runs meanwhile. SOAK: for `make soak`, for
# what asserts times. APART: against a second control plane, one such test at a time, for what would disturb the others
# (definitions that are missing, servers that stop).
set(PATELLA_CONTROL_PLANE ${CMAKE_BINARY_DIR}/control-plane)
function(patella_integration_test)
  cmake_parse_arguments(A "ALONE;APART;SOAK" "NAME;TIMEOUT" "SOURCES;DEPS;COMMAND" ${ARGN})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set(fixture control_plane)
  set(plane ${PATELLA_CONTROL_PLANE})
  if(A_APART)
    set(fixture control_plane_apart)
    set(plane ${PATELLA_CONTROL_PLANE}-apart)
  endif()
  set(environment
      PATELLA_CONTROL_PLANE=${plane}
      PATELLA_KUBECONFIG=${plane}/admin.kubeconfig
      PATELLA_USER_KUBECONFIG=${plane}/user.kubeconfig
      PATELLA_KUBECTL=${plane}/bin/kubectl
      PATELLA_AUDIT_LOG=${plane}/audit.log
      PATELLA_EXTERNAL_METRICS=${plane}/metrics
      PATELLA_BIN=${CMAKE_BINARY_DIR}/bin
      PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/integration)
  set(label integration)
  if(A_SOAK)
    set(label soak)
  endif()
  set(properties LABELS ${label} TIMEOUT ${A_TIMEOUT} FIXTURES_REQUIRED ${fixture})
  if(A_APART)
    list(APPEND properties RESOURCE_LOCK ${fixture})
  endif()
  if(A_ALONE)
    list(APPEND properties RUN_SERIAL TRUE)
  endif()
  if(A_SOURCES)
    add_executable(${A_NAME} ${A_SOURCES})
    set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_include_directories(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${A_NAME} PRIVATE PATELLA_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/testdata")
    target_link_libraries(${A_NAME} PRIVATE ${A_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
    gtest_discover_tests(${A_NAME} DISCOVERY_MODE PRE_TEST TEST_LIST tests PROPERTIES ${properties})
    # A property that is a list does not pass through gtest_discover_tests: it is set when CTest reads what was found.
    set(file ${CMAKE_CURRENT_BINARY_DIR}/${A_NAME}_environment.cmake)
    file(WRITE ${file} "if(tests)\nset_tests_properties(\${tests} PROPERTIES ENVIRONMENT \"${environment}\")\nendif()\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${file})
  else()
    add_test(NAME integration.${A_NAME} COMMAND ${A_COMMAND})
    set_tests_properties(integration.${A_NAME} PROPERTIES ${properties} ENVIRONMENT "${environment}")
  endif()
endfunction()

# add_subdirectory for each folder that has a CMakeLists.txt.
function(patella_subdirectories)
  foreach(dir ${ARGN})
    add_subdirectory(${dir})
  endforeach()
endfunction()
