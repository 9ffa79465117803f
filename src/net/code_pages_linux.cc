#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "net/code_pages.h"

namespace openp2p::net {
namespace {

/// Read-only segments are as their files are: their pages can be had again.
int unmap_code(dl_phdr_info* module, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < module->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = module->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = module->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t start = begin / page * page;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells places as numbers.
    ::madvise(reinterpret_cast<void*>(start), begin + segment.p_memsz - start, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void unmap_idle_code() { ::dl_iterate_phdr(unmap_code, nullptr); }

}  // namespace openp2p::net
