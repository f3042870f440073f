# What the library has a guest's shell do for it. POSIX sh, without tabs and `!`, because it is typed into an
# interactive shell. $qt_d is the conversation's folder; qt_say prints a line with its mark, and is there already.
#
# qt ID [COMMAND]: runs COMMAND, written for printf's %b, or the file c of the folder, and sends its output. The
# subshell is for `exit`, `set -e` and syntax errors; it hands down its folder and its exported variables.
qt() {
[ $# = 1 ] || printf %b "$2" >$qt_d/c
rm -f $qt_d/o
qt_say $1:run
( set --
trap 'pwd >$qt_d/w; export -p >$qt_d/e' EXIT
. $qt_d/c ) </dev/null >$qt_d/o
qt_end $1 $?
IFS= read -r qt_w <$qt_d/w && cd "$qt_w"
}
# qt_end ID STATUS: sends the file o, with what it takes to see that all of it came.
qt_end() {
if [ -s $qt_d/o ]; then
set -- $1 $2 $(wc -c <$qt_d/o) $(md5sum <$qt_d/o)
qt_say $1:end:$2:$3:$4
qt_code <$qt_d/o
qt_say $1:eof
else
qt_say $1:end:$2:0:-
fi
}
# qt_again ID SCRIPT: sends those lines of it again that the sed script prints.
qt_again() {
qt_code <$qt_d/o | sed -n "$2"
qt_say $1:eof
}
# qt_code: standard input as numbered lines of letters and digits, which nothing on the way changes.
if command -v base64 >/dev/null; then
qt_c=base64
qt_code() { base64 | grep -n ''; }
else
qt_c=hex
qt_code() { od -An -v -tx1 | tr -d ' ' | grep -n ''; }
fi
# qt_get ID BYTES: takes so many bytes as they are into the file i, in parts, each asked for by what is left.
qt_get() {
qt_t=$(stty -g) && stty raw -echo || return
qt_n=$2
>$qt_d/i
while [ $qt_n -gt 0 ]; do
qt_b=$qt_n
[ $qt_b -le 16384 ] || qt_b=16384
qt_say $1:go:$qt_n
head -c $qt_b >>$qt_d/i
qt_n=$((qt_n-qt_b))
done
stty $qt_t
set -- $1 $(wc -c <$qt_d/i) $(md5sum <$qt_d/i)
qt_say $1:got:$2:$3
}
qt_l=
for qt_t in grep head md5sum rm sed stty wc; do
command -v $qt_t >/dev/null || qt_l="$qt_l $qt_t"
done
[ $qt_c = base64 ] || command -v od >/dev/null || qt_l="$qt_l base64"
pwd >$qt_d/w
export -p >$qt_d/e
qt_say "0:ready:$qt_c:$qt_l"
