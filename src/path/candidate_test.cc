#include "path/candidate.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

Candidate candidate(CandidateType type, const char* text) {
  return {type, *Address::parse(text), SocketId{}};
}

TEST(Candidate, TypeDecidesPriorityThenFamily) {
  const Candidate descending[] = {
      candidate(CandidateType::kHost, "[2001:db8::1]:1"),
      candidate(CandidateType::kHost, "192.0.2.1:1"),
      candidate(CandidateType::kMapped, "192.0.2.1:1"),
      candidate(CandidateType::kPeerReflexive, "192.0.2.1:1"),
      candidate(CandidateType::kServerReflexive, "192.0.2.1:1"),
      candidate(CandidateType::kRelayed, "[2001:db8::1]:1"),
  };
  for (std::size_t i = 1; i < std::size(descending); ++i) {
    EXPECT_GT(candidate_priority(descending[i - 1]), candidate_priority(descending[i])) << i;
  }
}

TEST(Candidate, PriorityFollowsTheFormulaOfRfc8445) {
  EXPECT_EQ(candidate_priority(candidate(CandidateType::kHost, "[2001:db8::1]:1")),
            (126u << 24) + (65535u << 8) + 255u);
}

}  // namespace
}  // namespace openp2p::path
