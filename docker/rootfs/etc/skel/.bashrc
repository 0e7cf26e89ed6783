# ~/.bashrc: for interactive shells.
case $- in *i*) ;; *) return ;; esac

HISTCONTROL=ignoreboth
HISTSIZE=5000
HISTFILESIZE=20000
shopt -s histappend checkwinsize

PS1='\[\e[1;32m\]\u@${HOSTNAME:0:12}\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]\$ '
case "$TERM" in xterm* | rxvt*) PS1="\[\e]0;\u@\${HOSTNAME:0:12}: \w\a\]$PS1" ;; esac

if [ -x /usr/bin/dircolors ]; then
  eval "$(dircolors -b)"
  alias ls='ls --color=auto' grep='grep --color=auto'
fi
alias ll='ls -l' la='ls -A'

if [ -f ~/.bash_aliases ]; then . ~/.bash_aliases; fi
# Completion is loaded at the first TAB: whoever opens a shell waits for nothing that they may not use.
if ! shopt -oq posix && [ -f /usr/share/bash-completion/bash_completion ]; then
  _load_completion() {
    complete -r -D
    . /usr/share/bash-completion/bash_completion && return 124
  }
  complete -D -F _load_completion
fi
