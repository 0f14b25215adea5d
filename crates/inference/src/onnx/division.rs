//! Integer divisions that would end the process.
//!
//! x86 raises a signal (Intel's manual, volume 2, DIV and IDIV: #DE) for a divisor of zero and for the smallest number
//! divided by -1, whose quotient overflows. It ends the process: any caller of a model that divides by an input could
//! end the server. The runtime's `Div` and `Mod` refuse a divisor of zero, but other operators divide by sizes that
//! they are given or compute, as `STFT` does by the length of a frame.
//!
//! ARM's processors raise nothing: the quotient of the smallest number wraps around, with nothing left over, and that
//! of a division by zero is zero (Arm's manual, SDIV and UDIV). So do they here, and a run that divided by zero is
//! refused. A signal for anything else ends the process as before.

use std::cell::Cell;

thread_local! {
    /// Whether this thread has divided by zero since this was last read.
    static BY_ZERO: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` and reports whether this thread divided by zero meanwhile. A division on another thread of the run is not
/// noticed.
pub(super) fn watch_for_zero<T>(run: impl FnOnce() -> T) -> (T, bool) {
    BY_ZERO.set(false);
    (run(), BY_ZERO.get())
}

/// Installs the signal handler that lets such divisions go on, in all threads.
pub(super) fn install_handler() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    trap::install();
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod trap {
    #![expect(unsafe_code, reason = "the registers of the thread that divided are the kernel's to lend")]
    use std::{
        ffi::{c_int, c_void},
        mem,
        ptr::{null_mut, with_exposed_provenance},
        sync::Once,
    };

    pub(super) fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = divided;
            // SAFETY: all zeros is an action of the platform's, and the handler has the signature that SA_SIGINFO
            // asks for. It allocates nothing, takes no lock and touches nothing but the registers.
            let installed = unsafe {
                let mut action: libc::sigaction = mem::zeroed();
                action.sa_sigaction = handler as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(libc::SIGFPE, &raw const action, null_mut())
            };
            if installed != 0 {
                tracing::warn!("a division by zero ends the server: its signal could not be handled");
            }
        });
    }

    extern "C" fn divided(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel gives a handler with SA_SIGINFO this structure, which is its own until it returns.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let [instruction, dividend, above] =
            [libc::REG_RIP, libc::REG_RAX, libc::REG_RDX].map(|register| register as usize);
        let registers = &mut context.uc_mcontext.gregs;
        let code: *const u8 = with_exposed_provenance(registers[instruction] as usize);
        // SAFETY: the processor has just read the instruction from there, and no byte behind it is looked at.
        let division = super::Division::read(|at| unsafe { *code.add(at) });
        match division {
            Some(division) => {
                registers[instruction] += division.length;
                if !division.overflows(registers[dividend], registers[above]) {
                    registers[dividend] = 0;
                    super::BY_ZERO.set(true);
                }
                registers[above] = 0;
            }
            // SAFETY: the call is allowed in handlers. The instruction is tried again on return and ends the process.
            None => drop(unsafe { libc::signal(libc::SIGFPE, libc::SIG_DFL) }),
        }
    }
}

/// An instruction `div` or `idiv` of 32 or 64 bits.
#[cfg(any(test, all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
#[derive(Debug, PartialEq)]
struct Division {
    /// In bytes.
    length: i64,
    /// Whether it divides 64 bits.
    is_wide: bool,
    /// Whether it is `idiv`.
    is_signed: bool,
}

#[cfg(any(test, all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
impl Division {
    /// Reads an instruction by its bytes; none where it is another one. No byte after its end is asked for.
    fn read(byte: impl Fn(usize) -> u8) -> Option<Self> {
        const GROUP: u8 = 0xf7;
        const DIV: u8 = 6;
        const IDIV: u8 = 7;
        let rex = Some(byte(0)).filter(|first| first & 0xf0 == 0x40);
        let start = usize::from(rex.is_some());
        if byte(start) != GROUP {
            return None;
        }
        let operand = byte(start + 1);
        let (mode, code, base) = (operand >> 6, operand >> 3 & 7, operand & 7);
        if code != DIV && code != IDIV {
            return None;
        }
        // Where the divisor lies: a register, or memory at a base, scaled or not, and a displacement.
        let is_scaled = mode != 3 && base == 4;
        let displacement = match mode {
            0 if base == 5 || is_scaled && byte(start + 2) & 7 == 5 => 4,
            0 | 3 => 0,
            1 => 1,
            _ => 4,
        };
        let length = i64::try_from(start + 2 + usize::from(is_scaled)).ok()? + displacement;
        Some(Self { length, is_wide: rex.is_some_and(|rex| rex & 8 != 0), is_signed: code == IDIV })
    }

    /// Whether the dividend is the smallest number: then the divisor is taken to be -1. Compilers extend the dividend
    /// of one width to the other, so that nothing else but zero raises the signal.
    fn overflows(&self, low: i64, high: i64) -> bool {
        self.is_signed
            && match self.is_wide {
                true => low == i64::MIN && high == -1,
                false => low as i32 == i32::MIN && high as i32 == -1,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_are_told_from_other_instructions() {
        let read = |code: &[u8]| Division::read(|at| code[at]);
        let narrow = |length| Some(Division { length, is_wide: false, is_signed: true });
        assert_eq!(read(&[0xf7, 0xf9]), narrow(2), "idiv ecx");
        assert_eq!(read(&[0x41, 0xf7, 0xfb]), narrow(3), "idiv r11d");
        assert_eq!(read(&[0xf7, 0x3c, 0x87]), narrow(3), "idiv [rdi+rax*4]");
        assert_eq!(read(&[0xf7, 0x3c, 0x85, 0, 0, 0, 0]), narrow(7), "idiv [rax*4+0]");
        assert_eq!(read(&[0xf7, 0x3d, 0, 0, 0, 0]), narrow(6), "idiv [rip+0]");
        assert_eq!(read(&[0xf7, 0x7c, 0x24, 8]), narrow(4), "idiv [rsp+8]");
        assert_eq!(read(&[0xf7, 0xb8, 0, 1, 0, 0]), narrow(6), "idiv [rax+256]");
        let wide = |is_signed| Some(Division { length: 3, is_wide: true, is_signed });
        assert_eq!(read(&[0x48, 0xf7, 0xf9]), wide(true), "idiv rcx");
        assert_eq!(read(&[0x48, 0xf7, 0xf1]), wide(false), "div rcx");
        assert_eq!(read(&[0xf7, 0xe1]), None, "mul ecx");
        assert_eq!(read(&[0x0f, 0x0b]), None, "ud2");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    #[test]
    #[expect(unsafe_code, reason = "the compiler checks its own divisions")]
    fn what_cannot_be_divided_goes_on_as_on_other_processors() {
        use std::arch::asm;

        install_handler();
        let (mut quotient, mut rest) = (i64::MIN, -1_i64);
        let (mut narrow, mut over) = (i32::MIN, -1_i32);
        // SAFETY: the instructions write to the registers that are named, and to no memory.
        unsafe {
            asm!("idiv {}", in(reg) -1_i64, inout("rax") quotient, inout("rdx") rest);
            asm!("idiv dword ptr [{}]", in(reg) &raw const *Box::new(-1_i32), inout("eax") narrow, inout("edx") over);
        }
        assert_eq!((quotient, rest, narrow, over), (i64::MIN, 0, i32::MIN, 0));

        let by_zero = || {
            let (mut signed, mut plain) = (7_i64, u64::MAX);
            // SAFETY: as above.
            unsafe {
                asm!("cqo", "idiv {}", in(reg) 0_i64, inout("rax") signed, out("rdx") _);
                asm!("div {}", in(reg) 0_u64, inout("rax") plain, inout("rdx") 0_u64 => _);
            }
            (signed, plain)
        };
        assert_eq!(watch_for_zero(by_zero), ((0, 0), true));
        assert_eq!(watch_for_zero(|| 1), (1, false), "of earlier ones nothing is said");
    }
}
