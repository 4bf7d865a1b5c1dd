# For ROS from PyPI's wheels, given as CMAKE_PROJECT_INCLUDE. CMake's generate step would fail on
# two kinds of exported include folders:
# - those of the machine that built the wheels (/opt/python/...), in targets imported from them;
# - numpy's, in the target built here, where the environment lies inside the source tree.
# Python's and numpy's real headers come from find_package; nobody needs them from an export.
function(tame_include_folders)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(includes)
      list(FILTER includes EXCLUDE REGEX "^/opt/python/")
      set_target_properties(
        ${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${includes}")
    endif()
  endforeach()
  set(target ${PROJECT_NAME}__rosidl_generator_py)
  if(TARGET ${target})
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    list(TRANSFORM includes REPLACE "^(/.*)$" "$<BUILD_INTERFACE:\\1>")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${includes}")
  endif()
endfunction()
cmake_language(DEFER CALL tame_include_folders)
