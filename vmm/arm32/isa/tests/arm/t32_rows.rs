//! The rows of `aarchmrs-instructions` for T32: each module of the crate and all its rows.

use crate::ArmRow;

/// Returns all of them.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn rows() -> Vec<ArmRow> {
    crate::arm_rows! {
        T32::b16: B_T2;
        T32::n::addpcsp16: ADR_T1 ADD_SP_i_T1;
        T32::n::dpint16_2l: AND_r_T1 EOR_r_T1 MOV_rr_T1_ASR MOV_rr_T1_LSL MOV_rr_T1_LSR
            MOV_rr_T1_ROR ADC_r_T1 SBC_r_T1 TST_r_T1 RSB_i_T1 CMP_r_T1 CMN_r_T1 ORR_r_T1 MUL_T1
            BIC_r_T1 MVN_r_T1;
        T32::n::ldlit16: LDR_l_T1;
        T32::n::ldst16_imm: STR_i_T1 LDR_i_T1 STRB_i_T1 LDRB_i_T1;
        T32::n::ldst16_reg: STR_r_T1 STRH_r_T1 STRB_r_T1 LDRSB_r_T1 LDR_r_T1 LDRH_r_T1 LDRB_r_T1
            LDRSH_r_T1;
        T32::n::ldst16_sp: STR_i_T2 LDR_i_T2;
        T32::n::ldsth16_imm: STRH_i_T1 LDRH_i_T1;
        T32::n::ldstm16: STM_T1 LDM_T1;
        T32::n::brc::bcond16: B_T1;
        T32::n::brc::except16: UDF_T1 SVC_T1;
        T32::n::misc16::adjsp16: ADD_SP_i_T2 SUB_SP_i_T1;
        T32::n::misc16::bkpt16: BKPT_T1;
        T32::n::misc16::cbznz16: CBNZ_T1 CBZ_T1;
        T32::n::misc16::cps16: SETEND_T1 CPSID_T1_AS CPSIE_T1_AS;
        T32::n::misc16::ext16: SXTH_T1 SXTB_T1 UXTH_T1 UXTB_T1;
        T32::n::misc16::hints16: NOP_T1 YIELD_T1 WFE_T1 WFI_T1 SEV_T1 SEVL_T1;
        T32::n::misc16::hlt16: HLT_T1;
        T32::n::misc16::it16: IT_T1;
        T32::n::misc16::pushpop16: PUSH_T1 POP_T1;
        T32::n::misc16::rev16: REV_T1 REV16_T1 REVSH_T1;
        T32::n::misc16::setpan16: SETPAN_T1;
        T32::n::sftdpi::addsub16_1l_imm: MOV_i_T1 CMP_i_T1 ADD_i_T2 SUB_i_T2;
        T32::n::sftdpi::addsub16_2l_imm: ADD_i_T1 SUB_i_T1;
        T32::n::sftdpi::addsub16_3l: ADD_r_T1 SUB_r_T1;
        T32::n::sftdpi::shift16_imm: MOV_r_T2;
        T32::n::spcd::addsub16_2h: ADD_r_T2 ADD_SP_r_T1 ADD_SP_r_T2 CMP_r_T2 MOV_r_T1;
        T32::n::spcd::bx16: BX_T1 BLX_r_T1;
        T32::w::dpint_immm: AND_i_T1 ANDS_i_T1 TST_i_T1 BIC_i_T1 BICS_i_T1 ORR_i_T1 ORRS_i_T1
            MOV_i_T2 MOVS_i_T2 ORNS_i_T1 ORN_i_T1 MVN_i_T1 MVNS_i_T1 EOR_i_T1 EORS_i_T1 TEQ_i_T1
            ADD_i_T3 ADDS_i_T3 ADD_SP_i_T3 ADDS_SP_i_T3 CMN_i_T1 ADC_i_T1 ADCS_i_T1 SBC_i_T1
            SBCS_i_T1 SUB_i_T3 SUBS_i_T3 SUB_SP_i_T2 SUBS_SP_i_T2 CMP_i_T2 RSB_i_T2 RSBS_i_T2;
        T32::w::dpint_shiftr: AND_r_T2_RRX AND_r_T2 ANDS_r_T2_RRX ANDS_r_T2 TST_r_T2_RRX TST_r_T2
            BIC_r_T2_RRX BIC_r_T2 BICS_r_T2_RRX BICS_r_T2 ORR_r_T2_RRX ORR_r_T2 ORRS_r_T2_RRX
            ORRS_r_T2 MOV_r_T3_RRX MOV_r_T3 MOVS_r_T3_RRX MOVS_r_T3 ORN_r_T1_RRX ORN_r_T1
            ORNS_r_T1_RRX ORNS_r_T1 MVN_r_T2_RRX MVN_r_T2 MVNS_r_T2_RRX MVNS_r_T2 EOR_r_T2_RRX
            EOR_r_T2 EORS_r_T2_RRX EORS_r_T2 TEQ_r_T1_RRX TEQ_r_T1 PKHBT_T1 PKHTB_T1 ADD_r_T3_RRX
            ADD_r_T3 ADDS_r_T3_RRX ADDS_r_T3 ADD_SP_r_T3_RRX ADD_SP_r_T3 ADDS_SP_r_T3_RRX
            ADDS_SP_r_T3 CMN_r_T2_RRX CMN_r_T2 ADC_r_T2_RRX ADC_r_T2 ADCS_r_T2_RRX ADCS_r_T2
            SBC_r_T2_RRX SBC_r_T2 SBCS_r_T2_RRX SBCS_r_T2 SUB_r_T2_RRX SUB_r_T2 SUBS_r_T2_RRX
            SUBS_r_T2 SUB_SP_r_T1_RRX SUB_SP_r_T1 SUBS_SP_r_T1_RRX SUBS_SP_r_T1 CMP_r_T3_RRX
            CMP_r_T3 RSB_r_T1_RRX RSB_r_T1 RSBS_r_T1_RRX RSBS_r_T1;
        T32::w::ldstm: SRS_T1_AS RFE_T1_AS STM_T2 LDM_T2 STMDB_T1 LDMDB_T1 SRS_T2_AS RFE_T2_AS;
        T32::w::bcrtrl::b: B_T4;
        T32::w::bcrtrl::bcond: B_T3;
        T32::w::bcrtrl::bl: BL_i_T1;
        T32::w::bcrtrl::blx: BL_i_T2;
        T32::w::bcrtrl::bx_jaz: BXJ_T1;
        T32::w::bcrtrl::cps: CPS_T2_AS CPSID_T2_AS CPSID_T2_ASM CPSIE_T2_AS CPSIE_T2_ASM;
        T32::w::bcrtrl::dcps: DCPS1_T1 DCPS2_T1 DCPS3_T1;
        T32::w::bcrtrl::eret: SUBS_PC_T5_AS ERET_T1;
        T32::w::bcrtrl::except: HVC_T1 SMC_T1_AS UDF_T2;
        T32::w::bcrtrl::hints: NOP_T2 YIELD_T2 WFE_T2 WFI_T2 SEV_T2 SEVL_T2 ESB_T1 TSB_T1 CSDB_T1
            CLRBHB_T1 DBG_T1;
        T32::w::bcrtrl::mrs_bank: MRS_br_T1_AS;
        T32::w::bcrtrl::mrs_spec: MRS_T1_AS;
        T32::w::bcrtrl::msr_bank: MSR_br_T1_AS;
        T32::w::bcrtrl::msr_spec: MSR_r_T1_AS;
        T32::w::bcrtrl::system: CLREX_T1 DSB_T1 SSBB_T1 PSSBB_T1 DMB_T1 ISB_T1 SB_T1;
        T32::w::cpaf::advsimdext::fp_csel: VSELEQ_T1_H VSELEQ_T1_S VSELEQ_T1_D VSELGE_T1_H
            VSELGE_T1_S VSELGE_T1_D VSELGT_T1_H VSELGT_T1_S VSELGT_T1_D VSELVS_T1_H VSELVS_T1_S
            VSELVS_T1_D;
        T32::w::cpaf::advsimdext::fp_extins: VMOVX_T1 VINS_T1;
        T32::w::cpaf::advsimdext::fp_minmax: VMAXNM_T2_H VMAXNM_T2_S VMAXNM_T2_D VMINNM_T2_H
            VMINNM_T2_S VMINNM_T2_D;
        T32::w::cpaf::advsimdext::fp_toint: VRINTA_vfp_T1_H VRINTA_vfp_T1_S VRINTA_vfp_T1_D
            VRINTN_vfp_T1_H VRINTN_vfp_T1_S VRINTN_vfp_T1_D VRINTP_vfp_T1_H VRINTP_vfp_T1_S
            VRINTP_vfp_T1_D VRINTM_vfp_T1_H VRINTM_vfp_T1_S VRINTM_vfp_T1_D VCVTA_vfp_T1_H
            VCVTA_vfp_T1_S VCVTA_vfp_T1_D VCVTN_vfp_T1_H VCVTN_vfp_T1_S VCVTN_vfp_T1_D
            VCVTP_vfp_T1_H VCVTP_vfp_T1_S VCVTP_vfp_T1_D VCVTM_vfp_T1_H VCVTM_vfp_T1_S
            VCVTM_vfp_T1_D;
        T32::w::cpaf::advsimdext::simd_3sameext: VCADD_T1_D VCADD_T1_Q VMMLA_T1_Q VDOT_T1_D
            VDOT_T1_Q VFMAL_T1_D VFMAL_T1_Q VSMMLA_T1_Q VUMMLA_T1_Q VSDOT_T1_D VSDOT_T1_Q
            VUDOT_T1_D VUDOT_T1_Q VFMA_bf_T1_Q VFMSL_T1_D VFMSL_T1_Q VUSMMLA_T1_Q VUSDOT_T1_D
            VUSDOT_T1_Q VCMLA_T1_D VCMLA_T1_Q;
        T32::w::cpaf::advsimdext::tfloatdpmac: VCMLA_s_T1_DH VCMLA_s_T1_DS VCMLA_s_T1_QH
            VCMLA_s_T1_QS VFMAL_s_T1_D VFMAL_s_T1_Q VFMSL_s_T1_D VFMSL_s_T1_Q VFMA_bfs_T1_Q;
        T32::w::cpaf::advsimdext::tsimd_dotprod: VDOT_s_T1_D VDOT_s_T1_Q VSDOT_s_T1_D VSDOT_s_T1_Q
            VUDOT_s_T1_D VUDOT_s_T1_Q VUSDOT_s_T1_D VUSDOT_s_T1_Q VSUDOT_s_T1_D VSUDOT_s_T1_Q;
        T32::w::cpaf::fpdp::fp_2r: VABS_T2_H VABS_T2_S VABS_T2_D VMOV_r_T2_S VMOV_r_T2_D VNEG_T2_H
            VNEG_T2_S VNEG_T2_D VSQRT_T1_H VSQRT_T1_S VSQRT_T1_D VCVTB_T1_SH VCVTB_T1_DH
            VCVTB_T1_HS VCVTB_T1_HD VCVTT_T1_SH VCVTT_T1_DH VCVTT_T1_HS VCVTT_T1_HD VCVTB_T1_bfs
            VCVTT_T1_bfs VCMP_T1_H VCMP_T1_S VCMP_T1_D VCMPE_T1_H VCMPE_T1_S VCMPE_T1_D VCMP_T2_H
            VCMP_T2_S VCMP_T2_D VCMPE_T2_H VCMPE_T2_S VCMPE_T2_D VRINTR_vfp_T1_H VRINTR_vfp_T1_S
            VRINTR_vfp_T1_D VRINTZ_vfp_T1_H VRINTZ_vfp_T1_S VRINTZ_vfp_T1_D VRINTX_vfp_T1_H
            VRINTX_vfp_T1_S VRINTX_vfp_T1_D VCVT_ds_T1 VCVT_sd_T1 VCVT_vi_T1_H VCVT_vi_T1_S
            VCVT_vi_T1_D VJCVT_T1 VCVT_toxv_T1_H VCVT_xv_T1_H VCVT_toxv_T1_S VCVT_xv_T1_S
            VCVT_toxv_T1_D VCVT_xv_T1_D VCVTR_uiv_T1_H VCVTR_siv_T1_H VCVTR_uiv_T1_S VCVTR_siv_T1_S
            VCVTR_uiv_T1_D VCVTR_siv_T1_D VCVT_uiv_T1_H VCVT_siv_T1_H VCVT_uiv_T1_S VCVT_siv_T1_S
            VCVT_uiv_T1_D VCVT_siv_T1_D;
        T32::w::cpaf::fpdp::fp_3r: VMLA_f_T2_H VMLA_f_T2_S VMLA_f_T2_D VMLS_f_T2_H VMLS_f_T2_S
            VMLS_f_T2_D VNMLS_T1_H VNMLS_T1_S VNMLS_T1_D VNMLA_T1_H VNMLA_T1_S VNMLA_T1_D
            VMUL_f_T2_H VMUL_f_T2_S VMUL_f_T2_D VNMUL_T1_H VNMUL_T1_S VNMUL_T1_D VADD_f_T2_H
            VADD_f_T2_S VADD_f_T2_D VSUB_f_T2_H VSUB_f_T2_S VSUB_f_T2_D VDIV_T1_H VDIV_T1_S
            VDIV_T1_D VFNMS_T1_H VFNMS_T1_S VFNMS_T1_D VFNMA_T1_H VFNMA_T1_S VFNMA_T1_D VFMA_T2_H
            VFMA_T2_S VFMA_T2_D VFMS_T2_H VFMS_T2_S VFMS_T2_D;
        T32::w::cpaf::fpdp::fp_movi: VMOV_i_T2_H VMOV_i_T2_S VMOV_i_T2_D;
        T32::w::cpaf::simddp::simd_3same: VFMA_T1_D VFMA_T1_Q VADD_f_T1_D VADD_f_T1_Q VMLA_f_T1_D
            VMLA_f_T1_Q VCEQ_r_T2_D VCEQ_r_T2_Q VMAX_f_T1_D VMAX_f_T1_Q VRECPS_T1_D VRECPS_T1_Q
            VHADD_T1_D VHADD_T1_Q VAND_r_T1_D VAND_r_T1_Q VQADD_T1_D VQADD_T1_Q VRHADD_T1_D
            VRHADD_T1_Q SHA1C_T1 VHSUB_T1_D VHSUB_T1_Q VBIC_r_T1_D VBIC_r_T1_Q VQSUB_T1_D
            VQSUB_T1_Q VCGT_r_T1_D VCGT_r_T1_Q VCGE_r_T1_D VCGE_r_T1_Q SHA1P_T1 VFMS_T1_D VFMS_T1_Q
            VSUB_f_T1_D VSUB_f_T1_Q VMLS_f_T1_D VMLS_f_T1_Q VMIN_f_T1_D VMIN_f_T1_Q VRSQRTS_T1_D
            VRSQRTS_T1_Q VSHL_r_T1_D VSHL_r_T1_Q VADD_i_T1_D VADD_i_T1_Q VORR_r_T1_D VORR_r_T1_Q
            VTST_T1_D VTST_T1_Q VQSHL_r_T1_D VQSHL_r_T1_Q VMLA_i_T1_D VMLA_i_T1_Q VRSHL_T1_D
            VRSHL_T1_Q VQRSHL_T1_D VQRSHL_T1_Q VQDMULH_T1_D VQDMULH_T1_Q SHA1M_T1 VPADD_i_T1
            VMAX_i_T1_D VMAX_i_T1_Q VORN_r_T1_D VORN_r_T1_Q VMIN_i_T1_D VMIN_i_T1_Q VABD_i_T1_D
            VABD_i_T1_Q VABA_T1_D VABA_T1_Q SHA1SU0_T1 VPADD_f_T1 VMUL_f_T1_D VMUL_f_T1_Q
            VCGE_r_T2_D VCGE_r_T2_Q VACGE_T1_D VACGE_T1_Q VPMAX_f_T1 VMAXNM_T1_D VMAXNM_T1_Q
            VEOR_T1_D VEOR_T1_Q VMUL_i_T1_D VMUL_i_T1_Q SHA256H_T1 VPMAX_i_T1 VBSL_T1_D VBSL_T1_Q
            VPMIN_i_T1 SHA256H2_T1 VABD_f_T1_D VABD_f_T1_Q VCGT_r_T2_D VCGT_r_T2_Q VACGT_T1_D
            VACGT_T1_Q VPMIN_f_T1 VMINNM_T1_D VMINNM_T1_Q VSUB_i_T1_D VSUB_i_T1_Q VBIT_T1_D
            VBIT_T1_Q VCEQ_r_T1_D VCEQ_r_T1_Q VMLS_i_T1_D VMLS_i_T1_Q VQRDMULH_T1_D VQRDMULH_T1_Q
            SHA256SU1_T1 VQRDMLAH_T1_D VQRDMLAH_T1_Q VBIF_T1_D VBIF_T1_Q VQRDMLSH_T1_D
            VQRDMLSH_T1_Q;
        T32::w::cpaf::simddp::t_simd_12reg::simd_1r_imm: VMOV_i_T1_D VMOV_i_T1_Q VMVN_i_T1_D
            VMVN_i_T1_Q VORR_i_T1_D VORR_i_T1_Q VBIC_i_T1_D VBIC_i_T1_Q VMOV_i_T3_D VMOV_i_T3_Q
            VMVN_i_T2_D VMVN_i_T2_Q VORR_i_T2_D VORR_i_T2_Q VBIC_i_T2_D VBIC_i_T2_Q VMOV_i_T4_D
            VMOV_i_T4_Q VMVN_i_T3_D VMVN_i_T3_Q VMOV_i_T5_D VMOV_i_T5_Q;
        T32::w::cpaf::simddp::t_simd_12reg::simd_2r_shift: VSHR_T1_D VSHR_T1_Q VSRA_T1_D VSRA_T1_Q
            VMOVL_T1 VRSHR_T1_D VRSHR_T1_Q VRSRA_T1_D VRSRA_T1_Q VQSHL_i_T1_D VQSHLU_i_T1_D
            VQSHL_i_T1_Q VQSHLU_i_T1_Q VQSHRN_T1 VQSHRUN_T1 VQRSHRN_T1 VQRSHRUN_T1 VSHLL_T1
            VCVT_xs_T1_D VCVT_xs_T1_Q VSHL_i_T1_D VSHL_i_T1_Q VSHRN_T1 VRSHRN_T1 VSRI_T1_D
            VSRI_T1_Q VSLI_T1_D VSLI_T1_Q;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_2r_misc: VREV64_T1_D VREV64_T1_Q VREV32_T1_D
            VREV32_T1_Q VREV16_T1_D VREV16_T1_Q VPADDL_T1_D VPADDL_T1_Q AESE_T1 AESD_T1 AESMC_T1
            AESIMC_T1 VCLS_T1_D VCLS_T1_Q VSWP_T1_D VSWP_T1_Q VCLZ_T1_D VCLZ_T1_Q VCNT_T1_D
            VCNT_T1_Q VMVN_r_T1_D VMVN_r_T1_Q VPADAL_T1_D VPADAL_T1_Q VQABS_T1_D VQABS_T1_Q
            VQNEG_T1_D VQNEG_T1_Q VCGT_i_T1_D VCGT_i_T1_Q VCGE_i_T1_D VCGE_i_T1_Q VCEQ_i_T1_D
            VCEQ_i_T1_Q VCLE_i_T1_D VCLE_i_T1_Q VCLT_i_T1_D VCLT_i_T1_Q VABS_T1_D VABS_T1_Q
            VNEG_T1_D VNEG_T1_Q SHA1H_T1 VCVT_bfs_T1 VTRN_T1_D VTRN_T1_Q VUZP_T1_D VUZP_T1_Q
            VZIP_T1_D VZIP_T1_Q VMOVN_T1 VQMOVN_T1 VQMOVUN_T1 VSHLL_T2 SHA1SU1_T1 SHA256SU0_T1
            VRINTN_asimd_T1_D VRINTN_asimd_T1_Q VRINTX_asimd_T1_D VRINTX_asimd_T1_Q
            VRINTA_asimd_T1_D VRINTA_asimd_T1_Q VRINTZ_asimd_T1_D VRINTZ_asimd_T1_Q VCVT_sh_T1
            VCVT_hs_T1 VRINTM_asimd_T1_D VRINTM_asimd_T1_Q VRINTP_asimd_T1_D VRINTP_asimd_T1_Q
            VCVTA_asimd_T1_D VCVTA_asimd_T1_Q VCVTN_asimd_T1_D VCVTN_asimd_T1_Q VCVTP_asimd_T1_D
            VCVTP_asimd_T1_Q VCVTM_asimd_T1_D VCVTM_asimd_T1_Q VRECPE_T1_D VRECPE_T1_Q VRSQRTE_T1_D
            VRSQRTE_T1_Q VCVT_is_T1_D VCVT_is_T1_Q;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_2r_sc: VMLA_s_T1_D VMLA_s_T1_Q VQDMLAL_T2
            VMLAL_s_T1 VQDMLSL_T2 VMLS_s_T1_D VMLS_s_T1_Q VQDMULL_T2 VMLSL_s_T1 VMUL_s_T1_D
            VMUL_s_T1_Q VMULL_s_T1 VQDMULH_T2_D VQDMULH_T2_Q VQRDMULH_T2_D VQRDMULH_T2_Q
            VQRDMLAH_T2_D VQRDMLAH_T2_Q VQRDMLSH_T2_D VQRDMLSH_T2_Q;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_3diff: VADDL_T1 VADDW_T1 VSUBL_T1 VADDHN_T1
            VSUBW_T1 VSUBHN_T1 VQDMLAL_T1 VABAL_T1 VQDMLSL_T1 VQDMULL_T1 VABDL_i_T1 VMLAL_i_T1
            VMLSL_i_T1 VRADDHN_T1 VRSUBHN_T1 VMULL_i_T1;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_dup_sc: VDUP_s_T1_D VDUP_s_T1_Q;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_ext: VEXT_T1_D VEXT_T1_Q;
        T32::w::cpaf::simddp::t_simd_mulreg::simd_tbl: VTBL_T1 VTBX_T1;
        T32::w::cpaf::sys_mov32::cp_mov32: MCR_T1 MRC_T1;
        T32::w::cpaf::sys_mov32::fp_mov16: VMOV_toh_T1 VMOV_h_T1;
        T32::w::cpaf::sys_mov32::fp_mov32: VMOV_tos_T1 VMOV_s_T1;
        T32::w::cpaf::sys_mov32::fp_msr: VMSR_T1_AS VMRS_T1_AS;
        T32::w::cpaf::sys_mov32::simd_dup_el: VMOV_rs_T1 VMOV_sr_T1 VDUP_r_T1_Q VDUP_r_T1_D;
        T32::w::cpaf::sysldst_mov64::cp_ldst: LDC_l_T1 STC_T1_off STC_T1_post STC_T1_pre
            STC_T1_unind LDC_i_T1_off LDC_i_T1_post LDC_i_T1_pre LDC_i_T1_unind;
        T32::w::cpaf::sysldst_mov64::cp_mov64: MCRR_T1 MRRC_T1;
        T32::w::cpaf::sysldst_mov64::simdfp_ldst: VSTMDB_T2 VSTM_T2 VSTMDB_T1 VSTM_T1 FSTMDBX_T1
            FSTMIAX_T1 VLDMDB_T2 VLDM_T2 VLDMDB_T1 VLDM_T1 FLDMDBX_T1 FLDMIAX_T1 VSTR_T1_H
            VSTR_T1_S VSTR_T1_D VLDR_T1_H VLDR_T1_S VLDR_T1_D VLDR_l_T1_H VLDR_l_T1_S VLDR_l_T1_D;
        T32::w::cpaf::sysldst_mov64::simdfp_mov64: VMOV_toss_T1 VMOV_ss_T1 VMOV_tod_T1 VMOV_d_T1;
        T32::w::dstd::ldastl: STLB_T1 STLH_T1 STL_T1 STLEXB_T1 STLEXH_T1 STLEX_T1 STLEXD_T1 LDAB_T1
            LDAH_T1 LDA_T1 LDAEXB_T1 LDAEXH_T1 LDAEX_T1 LDAEXD_T1;
        T32::w::dstd::lddlit: LDRD_l_T1;
        T32::w::dstd::ldstd_imm: STRD_i_T1_off LDRD_i_T1_off;
        T32::w::dstd::ldstd_post: STRD_i_T1_post LDRD_i_T1_post;
        T32::w::dstd::ldstd_pre: STRD_i_T1_pre LDRD_i_T1_pre;
        T32::w::dstd::ldstex: STREX_T1 LDREX_T1;
        T32::w::dstd::ldstex_bhd: STREXB_T1 STREXH_T1 STREXD_T1 LDREXB_T1 LDREXH_T1 LDREXD_T1;
        T32::w::dstd::tblbr: TBB_T1 TBH_T1;
        T32::w::imm::dpint_imms: ADD_i_T4 ADD_SP_i_T4 ADR_T3 SUB_i_T4 SUB_SP_i_T3 ADR_T2;
        T32::w::imm::movw: MOV_i_T3 MOVT_T1;
        T32::w::imm::sat_bit: SSAT_T1_ASR SSAT_T1_LSL SSAT16_T1 SBFX_T1 BFI_T1 BFC_T1 USAT_T1_ASR
            USAT_T1_LSL USAT16_T1 UBFX_T1;
        T32::w::ldst::ldlit_signed: LDRSB_l_T1 PLI_i_T3 LDRSH_l_T1;
        T32::w::ldst::ldlit_unsigned: PLD_l_T1 LDRB_l_T1 LDRH_l_T1 LDR_l_T2;
        T32::w::ldst::ldst_signed_nimm: LDRSB_i_T2_off PLI_i_T2 LDRSH_i_T2_off;
        T32::w::ldst::ldst_signed_pimm: LDRSB_i_T1 PLI_i_T1 LDRSH_i_T1;
        T32::w::ldst::ldst_signed_post: LDRSB_i_T2_post LDRSH_i_T2_post;
        T32::w::ldst::ldst_signed_pre: LDRSB_i_T2_pre LDRSH_i_T2_pre;
        T32::w::ldst::ldst_signed_reg: LDRSB_r_T2 PLI_r_T1 LDRSH_r_T2;
        T32::w::ldst::ldst_signed_unpriv: LDRSBT_T1 LDRSHT_T1;
        T32::w::ldst::ldst_unsigned_nimm: STRB_i_T3_offn LDRB_i_T3_off PLD_i_T2 STRH_i_T3_offn
            LDRH_i_T3_off PLDW_i_T2 STR_i_T4_off LDR_i_T4_off;
        T32::w::ldst::ldst_unsigned_pimm: STRB_i_T2 LDRB_i_T2 PLD_i_T1 PLDW_i_T1 STRH_i_T2
            LDRH_i_T2 STR_i_T3 LDR_i_T3;
        T32::w::ldst::ldst_unsigned_post: STRB_i_T3_post LDRB_i_T3_post STRH_i_T3_post
            LDRH_i_T3_post STR_i_T4_post LDR_i_T4_post;
        T32::w::ldst::ldst_unsigned_pre: STRB_i_T3_pre LDRB_i_T3_pre STRH_i_T3_pre LDRH_i_T3_pre
            STR_i_T4_pre LDR_i_T4_pre;
        T32::w::ldst::ldst_unsigned_reg: STRB_r_T2 LDRB_r_T2 PLD_r_T1 PLDW_r_T1 STRH_r_T2 LDRH_r_T2
            STR_r_T2 LDR_r_T2;
        T32::w::ldst::ldst_unsigned_unpriv: STRBT_T1 LDRBT_T1 STRHT_T1 LDRHT_T1 STRT_T1 LDRT_T1;
        T32::w::lmul_div::div: SDIV_T1 UDIV_T1;
        T32::w::lmul_div::lmul: SMULL_T1 UMULL_T1 SMLAL_T1 SMLALBB_T1 SMLALBT_T1 SMLALTB_T1
            SMLALTT_T1 SMLALD_T1 SMLALDX_T1 SMLSLD_T1 SMLSLDX_T1 UMLAL_T1 UMAAL_T1;
        T32::w::mul::mul_abd: MLA_T1 MLS_T1 MUL_T2 SMLABB_T1 SMLABT_T1 SMLATB_T1 SMLATT_T1
            SMULBB_T1 SMULBT_T1 SMULTB_T1 SMULTT_T1 SMLAD_T1 SMLADX_T1 SMUAD_T1 SMUADX_T1 SMLAWB_T1
            SMLAWT_T1 SMULWB_T1 SMULWT_T1 SMLSD_T1 SMLSDX_T1 SMUSD_T1 SMUSDX_T1 SMMLA_T1 SMMLAR_T1
            SMMUL_T1 SMMULR_T1 SMMLS_T1 SMMLSR_T1 USADA8_T1 USAD8_T1;
        T32::w::reg::addsub_par: SADD8_T1 QADD8_T1 SHADD8_T1 UADD8_T1 UQADD8_T1 UHADD8_T1 SADD16_T1
            QADD16_T1 SHADD16_T1 UADD16_T1 UQADD16_T1 UHADD16_T1 SASX_T1 QASX_T1 SHASX_T1 UASX_T1
            UQASX_T1 UHASX_T1 SSUB8_T1 QSUB8_T1 SHSUB8_T1 USUB8_T1 UQSUB8_T1 UHSUB8_T1 SSUB16_T1
            QSUB16_T1 SHSUB16_T1 USUB16_T1 UQSUB16_T1 UHSUB16_T1 SSAX_T1 QSAX_T1 SHSAX_T1 USAX_T1
            UQSAX_T1 UHSAX_T1;
        T32::w::reg::dpint_2r: QADD_T1 QDADD_T1 QSUB_T1 QDSUB_T1 REV_T2 REV16_T2 RBIT_T1 REVSH_T2
            SEL_T1 CLZ_T1 CRC32B_T1 CRC32H_T1 CRC32W_T1 CRC32CB_T1 CRC32CH_T1 CRC32CW_T1;
        T32::w::reg::extendr: SXTAH_T1 SXTH_T2 UXTAH_T1 UXTH_T2 SXTAB16_T1 SXTB16_T1 UXTAB16_T1
            UXTB16_T1 SXTAB_T1 SXTB_T2 UXTAB_T1 UXTB_T2;
        T32::w::reg::shiftr: MOVS_rr_T2 MOV_rr_T2;
        T32::w::vldst::asimldall: VLD1_a_T1_nowb VLD1_a_T1_posti VLD1_a_T1_postr VLD2_a_T1_nowb
            VLD2_a_T1_posti VLD2_a_T1_postr VLD3_a_T1_nowb VLD3_a_T1_posti VLD3_a_T1_postr
            VLD4_a_T1_nowb VLD4_a_T1_posti VLD4_a_T1_postr;
        T32::w::vldst::asimldstms: VST4_m_T1_nowb VST4_m_T1_posti VST4_m_T1_postr VST1_m_T4_nowb
            VST1_m_T4_posti VST1_m_T4_postr VST2_m_T2_nowb VST2_m_T2_posti VST2_m_T2_postr
            VST3_m_T1_nowb VST3_m_T1_posti VST3_m_T1_postr VST1_m_T3_nowb VST1_m_T3_posti
            VST1_m_T3_postr VST1_m_T1_nowb VST1_m_T1_posti VST1_m_T1_postr VST2_m_T1_nowb
            VST2_m_T1_posti VST2_m_T1_postr VST1_m_T2_nowb VST1_m_T2_posti VST1_m_T2_postr
            VLD4_m_T1_nowb VLD4_m_T1_posti VLD4_m_T1_postr VLD1_m_T4_nowb VLD1_m_T4_posti
            VLD1_m_T4_postr VLD2_m_T2_nowb VLD2_m_T2_posti VLD2_m_T2_postr VLD3_m_T1_nowb
            VLD3_m_T1_posti VLD3_m_T1_postr VLD1_m_T3_nowb VLD1_m_T3_posti VLD1_m_T3_postr
            VLD1_m_T1_nowb VLD1_m_T1_posti VLD1_m_T1_postr VLD2_m_T1_nowb VLD2_m_T1_posti
            VLD2_m_T1_postr VLD1_m_T2_nowb VLD1_m_T2_posti VLD1_m_T2_postr;
        T32::w::vldst::asimldstss: VST1_1_T1_nowb VST1_1_T1_posti VST1_1_T1_postr VST2_1_T1_nowb
            VST2_1_T1_posti VST2_1_T1_postr VST3_1_T1_nowb VST3_1_T1_posti VST3_1_T1_postr
            VST4_1_T1_nowb VST4_1_T1_posti VST4_1_T1_postr VST1_1_T2_nowb VST1_1_T2_posti
            VST1_1_T2_postr VST2_1_T2_nowb VST2_1_T2_posti VST2_1_T2_postr VST3_1_T2_nowb
            VST3_1_T2_posti VST3_1_T2_postr VST4_1_T2_nowb VST4_1_T2_posti VST4_1_T2_postr
            VST1_1_T3_nowb VST1_1_T3_posti VST1_1_T3_postr VST2_1_T3_nowb VST2_1_T3_posti
            VST2_1_T3_postr VST3_1_T3_nowb VST3_1_T3_posti VST3_1_T3_postr VST4_1_T3_nowb
            VST4_1_T3_postr VST4_1_T3_posti VLD1_1_T1_nowb VLD1_1_T1_posti VLD1_1_T1_postr
            VLD2_1_T1_nowb VLD2_1_T1_posti VLD2_1_T1_postr VLD3_1_T1_nowb VLD3_1_T1_posti
            VLD3_1_T1_postr VLD4_1_T1_nowb VLD4_1_T1_posti VLD4_1_T1_postr VLD1_1_T2_nowb
            VLD1_1_T2_posti VLD1_1_T2_postr VLD2_1_T2_nowb VLD2_1_T2_posti VLD2_1_T2_postr
            VLD3_1_T2_nowb VLD3_1_T2_posti VLD3_1_T2_postr VLD4_1_T2_nowb VLD4_1_T2_posti
            VLD4_1_T2_postr VLD1_1_T3_nowb VLD1_1_T3_posti VLD1_1_T3_postr VLD2_1_T3_nowb
            VLD2_1_T3_posti VLD2_1_T3_postr VLD3_1_T3_nowb VLD3_1_T3_posti VLD3_1_T3_postr
            VLD4_1_T3_nowb VLD4_1_T3_posti VLD4_1_T3_postr;
    }
}
