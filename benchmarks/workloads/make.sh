# make.sh DIR: builds the generated project in DIR from scratch with two jobs.
make -s -C "$1" clean
make -s -C "$1" -j2
