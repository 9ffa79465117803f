#include "agent/open_outcome.h"

#include <string>

#include "forward/destination.h"
#include "net/dial_error.h"

namespace openp2p::agent {
namespace {

using forward::OpenStatus;

OpenStatus to_status(const std::error_code& error) {
  if (error == net::DialError::kRefused) return OpenStatus::kRefused;
  if (error == net::DialError::kUnreachable) return OpenStatus::kUnreachable;
  if (error == net::DialError::kTimedOut) return OpenStatus::kTimedOut;
  if (error == net::DialError::kNameNotFound) return OpenStatus::kNameNotFound;
  if (error == net::DialError::kVetoed) return OpenStatus::kDenied;
  if (error == net::DialError::kNoResources) return OpenStatus::kBusy;
  if (error == std::errc::connection_refused) return OpenStatus::kRefused;
  if (error == std::errc::host_unreachable) return OpenStatus::kUnreachable;
  if (error == std::errc::network_unreachable) return OpenStatus::kUnreachable;
  return OpenStatus::kFailed;
}

}  // namespace

forward::OpenAnswer to_answer(const forward::OpenRequest& request, const std::error_code& error) {
  const std::string where = forward::destination_text({request.host, request.port});
  const OpenStatus status = to_status(error);
  if (status == OpenStatus::kDenied) {
    return {status, where +
                        " is not allowed by that node; to allow it, restart its agent with: "
                        "openp2p up --accept " +
                        where + " (or --accept-lan for its whole local network)"};
  }
  return {status,
          where + ": " + std::string(forward::open_status_text(status)) + ", says that node"};
}

}  // namespace openp2p::agent
