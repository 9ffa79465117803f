#include "cli/completion.h"

#include <string_view>

#include "cli/exit_code.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace {

// Names of peers and forwards come from the running agent. They are compared and quoted, never
// evaluated: another node chose them.
constexpr std::string_view kBash = R"sh(# bash completion for openp2p
_openp2p() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local command=${COMP_WORDS[1]} words='' names='' name
  COMPREPLY=()
  case $prev in
    --state) compopt -o dirnames; return ;;
    --token-file|--import) compopt -o default; return ;;
    --log-level) words='debug info warning error' ;;
    --peer|--relay) names=$(openp2p names peers 2>/dev/null) ;;
    --token|--node|--accept|--port|--share|--methods|--no-methods|--to|--listen|-c|--count) return ;;
    *) case $command in
      up) words='--token --token-file --token-stdin --node --state --accept-lan --no-accept-lan
        --lan-discovery --no-lan-discovery --accept --port --share --never-relay-through-strangers --relay-through-strangers
        --no-relay-for-own --relay-for-own --methods --no-methods --log-level --import --listen-all --help' ;;
      status) words='--json --state --help' ;;
      netcheck) words='--lifetime --json --state --help' ;;
      share) words='--json --state --help' ;;
      peers)
        words='--json --state --help'
        [[ $COMP_CWORD -eq 2 ]] && names=$(openp2p names peers 2>/dev/null) ;;
      ping)
        words='--count --json --state --help'
        [[ $COMP_CWORD -eq 2 ]] && names=$(openp2p names peers 2>/dev/null) ;;
      completion) words='bash zsh fish' ;;
      forward)
        if [[ $COMP_CWORD -eq 2 ]]; then
          words='add list remove enable disable'
        else
          words='--json --state --help'
          case ${COMP_WORDS[2]} in
            add) words+=' --peer --to --listen --tcp --udp --relay --no-relay' ;;
            remove|enable|disable)
              [[ $COMP_CWORD -eq 3 ]] && names=$(openp2p names forwards 2>/dev/null) ;;
          esac
        fi ;;
      *) [[ $COMP_CWORD -eq 1 ]] &&
        words='up status peers share forward ping netcheck completion version --help' ;;
    esac ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  while IFS= read -r name; do
    [[ -n $name && $name == "$cur"* ]] && COMPREPLY+=("$(printf %q "$name")")
  done <<<"$names"
  return 0
}
complete -F _openp2p openp2p
)sh";

constexpr std::string_view kZsh = R"sh(#compdef openp2p
_openp2p_names() {
  local -a names
  names=("${(@f)$(openp2p names $1 2>/dev/null)}")
  compadd -a names
}
_openp2p() {
  local -a query=('--json[answer as JSON]' '--state[state folder]:folder:_files -/' '--help[show help]')
  if (( CURRENT == 2 )); then
    local -a commands=('up:run the agent' 'status:show this node' 'peers:list the other nodes'
      'forward:local ports that lead to peers' 'ping:measure the round trip to a peer'
      'netcheck:find out about NAT' 'share:what is lent and borrowed' 'completion:print a completion script' 'version:show the version')
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words; (( CURRENT-- ))
  case $command in
    up) _arguments '--token[join token]:token:' '--token-file[file with the join token]:file:_files' \
      '--token-stdin[read the join token from stdin]' '--node[name]:name:' \
      '--state[state folder]:folder:_files -/' '--accept-lan[allow hosts behind this node]' \
      '--no-accept-lan[allow this node only]' '--accept[allow destinations]:HOST\:PORT:' \
      '--port[UDP port]:port:' '--share[Mbit/s for others]:Mbit/s:' \
      '--lan-discovery[find peers by multicast]' '--no-lan-discovery[do not]' \
      '--never-relay-through-strangers[use no relay of others]' \
      '--relay-through-strangers[use them]' '--no-relay-for-own[carry nothing for own nodes]' \
      '--relay-for-own[carry for them]' \
      '--methods[ways to reach peers]:methods:' '--no-methods[all but these]:methods:' \
      '--log-level[level]:level:(debug info warning error)' \
      '--import[config.json of the original]:file:_files' '--listen-all[with --import]' \
      '--help[show help]' ;;
    status) _arguments $query ;;
    share) _arguments $query '1:Mbit/s:' ;;
    netcheck) _arguments $query '--lifetime[how long mappings live]' ;;
    peers) _arguments $query '1:node:_openp2p_names peers' ;;
    ping) _arguments $query '(-c --count)'{-c,--count}'[how many]:count:' \
      '1:node:_openp2p_names peers' ;;
    completion) _arguments '1:shell:(bash zsh fish)' ;;
    forward)
      if (( CURRENT == 2 )); then
        compadd add list remove enable disable
        return
      fi
      local action=$words[2]
      shift words; (( CURRENT-- ))
      case $action in
        add) _arguments $query '--peer[peer]:node:_openp2p_names peers' \
          '--to[destination]:HOST\:PORT:' '--listen[local port]:port:' \
          '--tcp[carry TCP]' '--udp[carry UDP]' \
          '--relay[the only relay]:node:_openp2p_names peers' '--no-relay[never relayed]' \
          '1:name:' ;;
        list) _arguments $query ;;
        remove|enable|disable) _arguments $query '1:forward:_openp2p_names forwards' ;;
      esac ;;
  esac
}
if [ "$funcstack[1]" = "_openp2p" ]; then _openp2p "$@"; else compdef _openp2p openp2p; fi
)sh";

constexpr std::string_view kFish = R"sh(# fish completion for openp2p
complete -c openp2p -f
function __openp2p_in_forward
  __fish_seen_subcommand_from forward; and __fish_seen_subcommand_from $argv
end
set -l commands up status peers share forward ping netcheck completion version
complete -c openp2p -n "not __fish_seen_subcommand_from $commands" -a "$commands"
complete -c openp2p -n '__fish_seen_subcommand_from status peers share netcheck ping forward' -l json -d 'Answer as JSON'
complete -c openp2p -n '__fish_seen_subcommand_from up status peers share netcheck ping forward' -l state -r -a '(__fish_complete_directories)' -d 'State folder'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l token -x -d 'Join token'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l token-file -r -F -d 'File with the join token'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l token-stdin -d 'Read the join token from stdin'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l node -x -d 'Name of this node'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l accept-lan -d 'Allow hosts behind this node'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l no-accept-lan -d 'Allow this node only'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l accept -x -d 'Allow destinations'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l port -x -d 'UDP port'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l share -x -d 'Mbit/s for others'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l lan-discovery -d 'Find peers by multicast'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l no-lan-discovery -d 'Do not'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l never-relay-through-strangers -d 'Use no relay of others'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l relay-through-strangers -d 'Use relays of others'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l no-relay-for-own -d 'Carry nothing for own nodes'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l relay-for-own -d 'Carry for own nodes'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l methods -x -d 'Ways to reach peers'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l no-methods -x -d 'All ways but these'
complete -c openp2p -n '__fish_seen_subcommand_from netcheck' -l lifetime -d 'How long mappings live'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l log-level -x -a 'debug info warning error'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l import -r -F -d 'config.json of the original'
complete -c openp2p -n '__fish_seen_subcommand_from up' -l listen-all -d 'With --import'
complete -c openp2p -n '__fish_seen_subcommand_from ping' -s c -l count -x -d 'How many'
complete -c openp2p -n '__fish_seen_subcommand_from ping peers' -a '(openp2p names peers 2>/dev/null)'
complete -c openp2p -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c openp2p -n '__fish_seen_subcommand_from forward; and not __fish_seen_subcommand_from add list remove enable disable' -a 'add list remove enable disable'
complete -c openp2p -n '__openp2p_in_forward add' -l peer -x -a '(openp2p names peers 2>/dev/null)' -d 'Peer'
complete -c openp2p -n '__openp2p_in_forward add' -l to -x -d 'Destination'
complete -c openp2p -n '__openp2p_in_forward add' -l listen -x -d 'Local port'
complete -c openp2p -n '__openp2p_in_forward add' -l tcp -d 'Carry TCP'
complete -c openp2p -n '__openp2p_in_forward add' -l udp -d 'Carry UDP'
complete -c openp2p -n '__openp2p_in_forward add' -l relay -x -a '(openp2p names peers 2>/dev/null)' -d 'The only relay'
complete -c openp2p -n '__openp2p_in_forward add' -l no-relay -d 'Never relayed'
complete -c openp2p -n '__openp2p_in_forward remove enable disable' -a '(openp2p names forwards 2>/dev/null)'
)sh";

}  // namespace

int print_completion(const std::string& shell) {
  if (shell == "bash") {
    print(kBash);
  } else if (shell == "zsh") {
    print(kZsh);
  } else if (shell == "fish") {
    print(kFish);
  } else {
    print_error("completion is there for bash, zsh and fish");
    return kExitUsage;
  }
  return kExitDone;
}

}  // namespace openp2p::cli
