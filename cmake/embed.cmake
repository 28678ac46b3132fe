# cmake -DFOLDER=io -DSTEM=page -DARRAY=io_html_page -DHEADER=html_page.h -DOUTPUT=page.c -P embed.cmake:
# page.html, with page.css and page.js where it says @style@ and @script@, as one array of a C file, so
# that the command is one file.

file(READ ${FOLDER}/${STEM}.html page)
foreach(part style:css script:js)
    string(REPLACE ":" ";" part ${part})
    list(GET part 0 mark)
    list(GET part 1 ending)
    if(EXISTS ${FOLDER}/${STEM}.${ending})
        file(READ ${FOLDER}/${STEM}.${ending} text)
        string(REPLACE "@${mark}@" "${text}" page "${page}")
    endif()
endforeach()
file(WRITE ${OUTPUT}.html "${page}")
file(READ ${OUTPUT}.html bytes HEX)
file(REMOVE ${OUTPUT}.html)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\n\nconst char ${ARRAY}[] = {\n${bytes}0x00};\n")
