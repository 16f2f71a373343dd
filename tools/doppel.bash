# SPDX-License-Identifier: Apache-2.0
# Completion of doppel's command lines for bash: verbs, options and their values, all of them as `doppel help` lists them.

# The options of a verb: "--name VALUE", one a line; "--name " for those without. Some stand in the usage alone.
_doppel_options() {
	"$1" help "$2" 2>/dev/null | sed -n -e '1s/.*\[\(--[a-z]*\)\].*/\1 /p' -e 's/\[=\([a-z|A-Z]*\)\]/ \1/' \
		-e 's/^  \(-[-A-Za-z]*\) \{0,1\}\([^ ]*\).*/\1 \2/p' | sort -u
}

# What can be a VALUE of the help's.
_doppel_value() {
	case $1 in
	FILE | FILE,* | WHERE) compgen -f -- "$2" ;;
	DIR | DIR[[:,]*) compgen -d -- "$2" ;;
	USER*) compgen -u -- "$2" ;;
	*[a-z0-9]*'|'* | json) compgen -W "$(printf %s "${1%%[[]*}" | tr '|' '\n')" -- "$2" ;;
	esac
}

_doppel() {
	local IFS=$' \t\n' program=${COMP_WORDS[0]} verb=${COMP_WORDS[1]} word=${COMP_WORDS[COMP_CWORD]} before value i
	before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$("$program" help 2>/dev/null | sed -n 's/^  doppel \([^ ]*\).*/\1/p')" -- "$word"))
		return
	fi
	# Behind -- stands somebody else's command.
	for ((i = 2; i < COMP_CWORD; i++)); do
		[ "${COMP_WORDS[i]}" != -- ] || { _doppel_command $((i + 1)) "$word"; return; }
	done
	# Bash makes a word of the = in --name=VALUE.
	[ "$word" != = ] || word=
	[ "$before" != = ] || before=${COMP_WORDS[COMP_CWORD - 2]}
	[[ $word == -* ]] || value=$(_doppel_options "$program" "$verb" | sed -n "s/^$before \(..*\)/\1/p")
	IFS=$'\n'
	if [ -n "$value" ]; then
		COMPREPLY=($(_doppel_value "$value" "$word"))
	elif [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(_doppel_options "$program" "$verb" | cut -d ' ' -f 1)" -- "$word"))
	else
		case $verb in
		stop | save | stat | monitor | exec)
			COMPREPLY=($(compgen -W "$("$program" ps 2>/dev/null | cut -d ' ' -f 1)" -- "$word")) ;;
		help)
			COMPREPLY=($(compgen -W "$("$program" help 2>/dev/null | sed -n 's/^  doppel \([a-z]*\).*/\1/p')" -- "$word")) ;;
		boot) COMPREPLY=($(compgen -f -- "$word")) ;;
		esac
	fi
}

_doppel_command() {
	local IFS=$'\n'

	[ "$1" = "$COMP_CWORD" ] && COMPREPLY=($(compgen -c -- "$2")) || COMPREPLY=($(compgen -f -- "$2"))
}

complete -o filenames -F _doppel doppel
