# For ROS from PyPI's wheels; setup.py gives this file as CMAKE_PROJECT_INCLUDE.
# CMake's generate step would fail because of two kinds of exported include folders:
# - those of the machine that built the wheels (/opt/python/...), in targets imported from them;
# - numpy's, in the target built here, if the environment is inside the source tree.
# find_package finds the headers of Python and numpy, so these exports are not needed.
function(remove_unusable_include_folders)
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
cmake_language(DEFER CALL remove_unusable_include_folders)
