//! The rows of `aarchmrs-instructions` for A32: each module of the crate and all its rows.

use crate::ArmRow;

/// Returns all of them.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn rows() -> Vec<ArmRow> {
    crate::arm_rows! {
        A32::ldstimm: LDR_l_A1 LDRB_l_A1 STR_i_A1_off STR_i_A1_post STR_i_A1_pre LDR_i_A1_off
            LDR_i_A1_post LDR_i_A1_pre STRB_i_A1_off STRB_i_A1_post STRB_i_A1_pre LDRB_i_A1_off
            LDRB_i_A1_post LDRB_i_A1_pre STRT_A1 LDRT_A1 STRBT_A1 LDRBT_A1;
        A32::ldstreg: STR_r_A1_off STR_r_A1_post STR_r_A1_pre LDR_r_A1_off LDR_r_A1_post
            LDR_r_A1_pre STRT_A2 LDRT_A2 STRB_r_A1_off STRB_r_A1_post STRB_r_A1_pre LDRB_r_A1_off
            LDRB_r_A1_post LDRB_r_A1_pre STRBT_A2 LDRBT_A2;
        A32::brblk::b_imm: B_A1 BL_i_A1 BL_i_A2;
        A32::brblk::ldstexcept: RFEDA_A1_AS RFEDB_A1_AS RFEIA_A1_AS RFEIB_A1_AS SRSDA_A1_AS
            SRSDB_A1_AS SRSIA_A1_AS SRSIB_A1_AS;
        A32::brblk::ldstm: STMDA_A1 LDMDA_A1 STM_A1 LDM_A1 STM_u_A1_AS STMDB_A1 LDMDB_A1
            LDM_u_A1_AS STMIB_A1 LDMIB_A1 LDM_e_A1_AS;
        A32::cops_as::advsimdext::floatdpmac: VCMLA_s_A1_DH VCMLA_s_A1_DS VCMLA_s_A1_QH
            VCMLA_s_A1_QS VFMAL_s_A1_D VFMAL_s_A1_Q VFMSL_s_A1_D VFMSL_s_A1_Q VFMA_bfs_A1_Q;
        A32::cops_as::advsimdext::fpcsel: VSELEQ_A1_H VSELEQ_A1_S VSELEQ_A1_D VSELGE_A1_H
            VSELGE_A1_S VSELGE_A1_D VSELGT_A1_H VSELGT_A1_S VSELGT_A1_D VSELVS_A1_H VSELVS_A1_S
            VSELVS_A1_D;
        A32::cops_as::advsimdext::fpcvtrnd: VRINTA_vfp_A1_H VRINTA_vfp_A1_S VRINTA_vfp_A1_D
            VRINTN_vfp_A1_H VRINTN_vfp_A1_S VRINTN_vfp_A1_D VRINTP_vfp_A1_H VRINTP_vfp_A1_S
            VRINTP_vfp_A1_D VRINTM_vfp_A1_H VRINTM_vfp_A1_S VRINTM_vfp_A1_D VCVTA_vfp_A1_H
            VCVTA_vfp_A1_S VCVTA_vfp_A1_D VCVTN_vfp_A1_H VCVTN_vfp_A1_S VCVTN_vfp_A1_D
            VCVTP_vfp_A1_H VCVTP_vfp_A1_S VCVTP_vfp_A1_D VCVTM_vfp_A1_H VCVTM_vfp_A1_S
            VCVTM_vfp_A1_D;
        A32::cops_as::advsimdext::fpextins: VMOVX_A1 VINS_A1;
        A32::cops_as::advsimdext::fpminmaxnm: VMAXNM_A2_H VMAXNM_A2_S VMAXNM_A2_D VMINNM_A2_H
            VMINNM_A2_S VMINNM_A2_D;
        A32::cops_as::advsimdext::simd3reg_sameext: VCADD_A1_D VCADD_A1_Q VMMLA_A1_Q VDOT_A1_D
            VDOT_A1_Q VFMAL_A1_D VFMAL_A1_Q VSMMLA_A1_Q VUMMLA_A1_Q VSDOT_A1_D VSDOT_A1_Q
            VUDOT_A1_D VUDOT_A1_Q VFMA_bf_A1_Q VFMSL_A1_D VFMSL_A1_Q VUSMMLA_A1_Q VUSDOT_A1_D
            VUSDOT_A1_Q VCMLA_A1_D VCMLA_A1_Q;
        A32::cops_as::advsimdext::simd_dotprod: VDOT_s_A1_D VDOT_s_A1_Q VSDOT_s_A1_D VSDOT_s_A1_Q
            VUDOT_s_A1_D VUDOT_s_A1_Q VUSDOT_s_A1_D VUSDOT_s_A1_Q VSUDOT_s_A1_D VSUDOT_s_A1_Q;
        A32::cops_as::fpdp::fpdp2reg: VABS_A2_H VABS_A2_S VABS_A2_D VMOV_r_A2_S VMOV_r_A2_D
            VNEG_A2_H VNEG_A2_S VNEG_A2_D VSQRT_A1_H VSQRT_A1_S VSQRT_A1_D VCVTB_A1_SH VCVTB_A1_DH
            VCVTB_A1_HS VCVTB_A1_HD VCVTT_A1_SH VCVTT_A1_DH VCVTT_A1_HS VCVTT_A1_HD VCVTB_A1_bfs
            VCVTT_A1_bfs VCMP_A1_H VCMP_A1_S VCMP_A1_D VCMPE_A1_H VCMPE_A1_S VCMPE_A1_D VCMP_A2_H
            VCMP_A2_S VCMP_A2_D VCMPE_A2_H VCMPE_A2_S VCMPE_A2_D VRINTR_vfp_A1_H VRINTR_vfp_A1_S
            VRINTR_vfp_A1_D VRINTZ_vfp_A1_H VRINTZ_vfp_A1_S VRINTZ_vfp_A1_D VRINTX_vfp_A1_H
            VRINTX_vfp_A1_S VRINTX_vfp_A1_D VCVT_ds_A1 VCVT_sd_A1 VCVT_vi_A1_H VCVT_vi_A1_S
            VCVT_vi_A1_D VJCVT_A1 VCVT_toxv_A1_H VCVT_xv_A1_H VCVT_toxv_A1_S VCVT_xv_A1_S
            VCVT_toxv_A1_D VCVT_xv_A1_D VCVTR_uiv_A1_H VCVTR_siv_A1_H VCVTR_uiv_A1_S VCVTR_siv_A1_S
            VCVTR_uiv_A1_D VCVTR_siv_A1_D VCVT_uiv_A1_H VCVT_siv_A1_H VCVT_uiv_A1_S VCVT_siv_A1_S
            VCVT_uiv_A1_D VCVT_siv_A1_D;
        A32::cops_as::fpdp::fpdp3reg: VMLA_f_A2_H VMLA_f_A2_S VMLA_f_A2_D VMLS_f_A2_H VMLS_f_A2_S
            VMLS_f_A2_D VNMLS_A1_H VNMLS_A1_S VNMLS_A1_D VNMLA_A1_H VNMLA_A1_S VNMLA_A1_D
            VMUL_f_A2_H VMUL_f_A2_S VMUL_f_A2_D VNMUL_A1_H VNMUL_A1_S VNMUL_A1_D VADD_f_A2_H
            VADD_f_A2_S VADD_f_A2_D VSUB_f_A2_H VSUB_f_A2_S VSUB_f_A2_D VDIV_A1_H VDIV_A1_S
            VDIV_A1_D VFNMS_A1_H VFNMS_A1_S VFNMS_A1_D VFNMA_A1_H VFNMA_A1_S VFNMA_A1_D VFMA_A2_H
            VFMA_A2_S VFMA_A2_D VFMS_A2_H VFMS_A2_S VFMS_A2_D;
        A32::cops_as::fpdp::fpimm: VMOV_i_A2_H VMOV_i_A2_S VMOV_i_A2_D;
        A32::cops_as::svcall::svc: SVC_A1;
        A32::cops_as::sys_mov32::movcpgp32: MCR_A1 MRC_A1;
        A32::cops_as::sys_mov32::movfpgp16: VMOV_toh_A1 VMOV_h_A1;
        A32::cops_as::sys_mov32::movfpgp32: VMOV_tos_A1 VMOV_s_A1;
        A32::cops_as::sys_mov32::movfpsr: VMSR_A1_AS VMRS_A1_AS;
        A32::cops_as::sys_mov32::movsimdgp: VMOV_rs_A1 VMOV_sr_A1 VDUP_r_A1_Q VDUP_r_A1_D;
        A32::cops_as::sysldst_mov64::ldstcp: LDC_l_A1 STC_A1_off STC_A1_post STC_A1_pre
            STC_A1_unind LDC_i_A1_off LDC_i_A1_post LDC_i_A1_pre LDC_i_A1_unind;
        A32::cops_as::sysldst_mov64::ldstsimdfp: VSTMDB_A2 VSTM_A2 VSTMDB_A1 VSTM_A1 FSTMDBX_A1
            FSTMIAX_A1 VLDMDB_A2 VLDM_A2 VLDMDB_A1 VLDM_A1 FLDMDBX_A1 FLDMIAX_A1 VSTR_A1_H
            VSTR_A1_S VSTR_A1_D VLDR_A1_H VLDR_A1_S VLDR_A1_D VLDR_l_A1_H VLDR_l_A1_S VLDR_l_A1_D;
        A32::cops_as::sysldst_mov64::movcpgp64: MCRR_A1 MRRC_A1;
        A32::cops_as::sysldst_mov64::movsimdfpgp64: VMOV_toss_A1 VMOV_ss_A1 VMOV_tod_A1 VMOV_d_A1;
        A32::dp::mul_half: SMLABB_A1 SMLABT_A1 SMLATB_A1 SMLATT_A1 SMLAWB_A1 SMLAWT_A1 SMULWB_A1
            SMULWT_A1 SMLALBB_A1 SMLALBT_A1 SMLALTB_A1 SMLALTT_A1 SMULBB_A1 SMULBT_A1 SMULTB_A1
            SMULTT_A1;
        A32::dp::mul_word: MULS_A1 MUL_A1 MLAS_A1 MLA_A1 UMAAL_A1 MLS_A1 UMULLS_A1 UMULL_A1
            UMLALS_A1 UMLAL_A1 SMULLS_A1 SMULL_A1 SMLALS_A1 SMLAL_A1;
        A32::dp::dpimm::intdp1reg_imm: TST_i_A1 TEQ_i_A1 CMP_i_A1 CMN_i_A1;
        A32::dp::dpimm::intdp2reg_imm: AND_i_A1 ANDS_i_A1 EOR_i_A1 EORS_i_A1 SUB_i_A1 SUBS_i_A1
            SUB_SP_i_A1 SUBS_SP_i_A1 ADR_A2 RSB_i_A1 RSBS_i_A1 ADD_i_A1 ADDS_i_A1 ADD_SP_i_A1
            ADDS_SP_i_A1 ADR_A1 ADC_i_A1 ADCS_i_A1 SBC_i_A1 SBCS_i_A1 RSC_i_A1 RSCS_i_A1;
        A32::dp::dpimm::log2reg_imm: ORR_i_A1 ORRS_i_A1 MOV_i_A1 MOVS_i_A1 BIC_i_A1 BICS_i_A1
            MVN_i_A1 MVNS_i_A1;
        A32::dp::dpimm::movsr_hint_imm: MSR_i_A1_AS NOP_A1 YIELD_A1 WFE_A1 WFI_A1 SEV_A1 SEVL_A1
            ESB_A1 TSB_A1 CSDB_A1 CLRBHB_A1 DBG_A1;
        A32::dp::dpimm::movw: MOV_i_A2 MOVT_A1;
        A32::dp::dpmisc::blx_reg: BLX_r_A1;
        A32::dp::dpmisc::bx_reg: BX_A1;
        A32::dp::dpmisc::bxj_reg: BXJ_A1;
        A32::dp::dpmisc::clz: CLZ_A1;
        A32::dp::dpmisc::crc32: CRC32B_A1 CRC32H_A1 CRC32W_A1 CRC32CB_A1 CRC32CH_A1 CRC32CW_A1;
        A32::dp::dpmisc::eret: ERET_A1;
        A32::dp::dpmisc::except: HLT_A1 BKPT_A1 HVC_A1 SMC_A1_AS;
        A32::dp::dpmisc::intsat: QADD_A1 QSUB_A1 QDADD_A1 QDSUB_A1;
        A32::dp::dpmisc::movsr_reg: MRS_A1_AS MRS_br_A1_AS MSR_r_A1_AS MSR_br_A1_AS;
        A32::dp::dpregis::intdp2reg_immsh: TST_r_A1_RRX TST_r_A1 TEQ_r_A1_RRX TEQ_r_A1 CMP_r_A1_RRX
            CMP_r_A1 CMN_r_A1_RRX CMN_r_A1;
        A32::dp::dpregis::intdp3reg_immsh: AND_r_A1_RRX AND_r_A1 ANDS_r_A1_RRX ANDS_r_A1
            EOR_r_A1_RRX EOR_r_A1 EORS_r_A1_RRX EORS_r_A1 SUB_r_A1_RRX SUB_r_A1 SUBS_r_A1_RRX
            SUBS_r_A1 SUB_SP_r_A1_RRX SUB_SP_r_A1 SUBS_SP_r_A1_RRX SUBS_SP_r_A1 RSB_r_A1_RRX
            RSB_r_A1 RSBS_r_A1_RRX RSBS_r_A1 ADD_r_A1_RRX ADD_r_A1 ADDS_r_A1_RRX ADDS_r_A1
            ADD_SP_r_A1_RRX ADD_SP_r_A1 ADDS_SP_r_A1_RRX ADDS_SP_r_A1 ADC_r_A1_RRX ADC_r_A1
            ADCS_r_A1_RRX ADCS_r_A1 SBC_r_A1_RRX SBC_r_A1 SBCS_r_A1_RRX SBCS_r_A1 RSC_r_A1_RRX
            RSC_r_A1 RSCS_r_A1_RRX RSCS_r_A1;
        A32::dp::dpregis::logic3reg_immsh: ORR_r_A1_RRX ORR_r_A1 ORRS_r_A1_RRX ORRS_r_A1
            MOV_r_A1_RRX MOV_r_A1 MOVS_r_A1_RRX MOVS_r_A1 BIC_r_A1_RRX BIC_r_A1 BICS_r_A1_RRX
            BICS_r_A1 MVN_r_A1_RRX MVN_r_A1 MVNS_r_A1_RRX MVNS_r_A1;
        A32::dp::dpregrs::intdp2reg_regsh: TST_rr_A1 TEQ_rr_A1 CMP_rr_A1 CMN_rr_A1;
        A32::dp::dpregrs::intdp3reg_regsh: ANDS_rr_A1 AND_rr_A1 EORS_rr_A1 EOR_rr_A1 SUBS_rr_A1
            SUB_rr_A1 RSBS_rr_A1 RSB_rr_A1 ADDS_rr_A1 ADD_rr_A1 ADCS_rr_A1 ADC_rr_A1 SBCS_rr_A1
            SBC_rr_A1 RSCS_rr_A1 RSC_rr_A1;
        A32::dp::dpregrs::logic3reg_regsh: ORRS_rr_A1 ORR_rr_A1 MOVS_rr_A1 MOV_rr_A1 BICS_rr_A1
            BIC_rr_A1 MVNS_rr_A1 MVN_rr_A1;
        A32::dp::sync::ldst_excl: STL_A1 STLEX_A1 STREX_A1 LDA_A1 LDAEX_A1 LDREX_A1 STLEXD_A1
            STREXD_A1 LDAEXD_A1 LDREXD_A1 STLB_A1 STLEXB_A1 STREXB_A1 LDAB_A1 LDAEXB_A1 LDREXB_A1
            STLH_A1 STLEXH_A1 STREXH_A1 LDAH_A1 LDAEXH_A1 LDREXH_A1;
        A32::dp::xldst::ldstximm: LDRD_l_A1 LDRH_l_A1 LDRSB_l_A1 LDRSH_l_A1 LDRD_i_A1_off
            LDRD_i_A1_post LDRD_i_A1_pre STRH_i_A1_off STRH_i_A1_post STRH_i_A1_pre STRD_i_A1_off
            STRD_i_A1_post STRD_i_A1_pre LDRH_i_A1_off LDRH_i_A1_post LDRH_i_A1_pre LDRSB_i_A1_off
            LDRSB_i_A1_post LDRSB_i_A1_pre LDRSH_i_A1_off LDRSH_i_A1_post LDRSH_i_A1_pre STRHT_A1
            LDRHT_A1 LDRSBT_A1 LDRSHT_A1;
        A32::dp::xldst::ldstxreg: STRH_r_A1_off STRH_r_A1_post STRH_r_A1_pre LDRD_r_A1_off
            LDRD_r_A1_post LDRD_r_A1_pre STRD_r_A1_off STRD_r_A1_post STRD_r_A1_pre LDRH_r_A1_off
            LDRH_r_A1_post LDRH_r_A1_pre LDRSB_r_A1_off LDRSB_r_A1_post LDRSB_r_A1_pre
            LDRSH_r_A1_off LDRSH_r_A1_post LDRSH_r_A1_pre STRHT_A2 LDRHT_A2 LDRSBT_A2 LDRSHT_A2;
        A32::media::bfi: BFI_A1 BFC_A1;
        A32::media::bfx: SBFX_A1 UBFX_A1;
        A32::media::extend: SXTAB16_A1 SXTB16_A1 SXTAB_A1 SXTB_A1 SXTAH_A1 SXTH_A1 UXTAB16_A1
            UXTB16_A1 UXTAB_A1 UXTB_A1 UXTAH_A1 UXTH_A1;
        A32::media::pack: PKHBT_A1 PKHTB_A1;
        A32::media::parallel: SADD16_A1 SASX_A1 SSAX_A1 SSUB16_A1 SADD8_A1 SSUB8_A1 QADD16_A1
            QASX_A1 QSAX_A1 QSUB16_A1 QADD8_A1 QSUB8_A1 SHADD16_A1 SHASX_A1 SHSAX_A1 SHSUB16_A1
            SHADD8_A1 SHSUB8_A1 UADD16_A1 UASX_A1 USAX_A1 USUB16_A1 UADD8_A1 USUB8_A1 UQADD16_A1
            UQASX_A1 UQSAX_A1 UQSUB16_A1 UQADD8_A1 UQSUB8_A1 UHADD16_A1 UHASX_A1 UHSAX_A1
            UHSUB16_A1 UHADD8_A1 UHSUB8_A1;
        A32::media::reverse: REV_A1 REV16_A1 RBIT_A1 REVSH_A1;
        A32::media::sat16: SSAT16_A1 USAT16_A1;
        A32::media::sat32: SSAT_A1_ASR SSAT_A1_LSL USAT_A1_ASR USAT_A1_LSL;
        A32::media::selbytes: SEL_A1;
        A32::media::smul_div: SMLAD_A1 SMLADX_A1 SMLSD_A1 SMLSDX_A1 SMUAD_A1 SMUADX_A1 SMUSD_A1
            SMUSDX_A1 SDIV_A1 UDIV_A1 SMLALD_A1 SMLALDX_A1 SMLSLD_A1 SMLSLDX_A1 SMMLA_A1 SMMLAR_A1
            SMMLS_A1 SMMLSR_A1 SMMUL_A1 SMMULR_A1;
        A32::media::udf: UDF_A1;
        A32::media::usad: USADA8_A1 USAD8_A1;
        A32::uncond_as::advsimddp::simd3reg_same: VFMA_A1_D VFMA_A1_Q VADD_f_A1_D VADD_f_A1_Q
            VMLA_f_A1_D VMLA_f_A1_Q VCEQ_r_A2_D VCEQ_r_A2_Q VMAX_f_A1_D VMAX_f_A1_Q VRECPS_A1_D
            VRECPS_A1_Q VHADD_A1_D VHADD_A1_Q VAND_r_A1_D VAND_r_A1_Q VQADD_A1_D VQADD_A1_Q
            VRHADD_A1_D VRHADD_A1_Q SHA1C_A1 VHSUB_A1_D VHSUB_A1_Q VBIC_r_A1_D VBIC_r_A1_Q
            VQSUB_A1_D VQSUB_A1_Q VCGT_r_A1_D VCGT_r_A1_Q VCGE_r_A1_D VCGE_r_A1_Q SHA1P_A1
            VFMS_A1_D VFMS_A1_Q VSUB_f_A1_D VSUB_f_A1_Q VMLS_f_A1_D VMLS_f_A1_Q VMIN_f_A1_D
            VMIN_f_A1_Q VRSQRTS_A1_D VRSQRTS_A1_Q VSHL_r_A1_D VSHL_r_A1_Q VADD_i_A1_D VADD_i_A1_Q
            VORR_r_A1_D VORR_r_A1_Q VTST_A1_D VTST_A1_Q VQSHL_r_A1_D VQSHL_r_A1_Q VMLA_i_A1_D
            VMLA_i_A1_Q VRSHL_A1_D VRSHL_A1_Q VQRSHL_A1_D VQRSHL_A1_Q VQDMULH_A1_D VQDMULH_A1_Q
            SHA1M_A1 VPADD_i_A1 VMAX_i_A1_D VMAX_i_A1_Q VORN_r_A1_D VORN_r_A1_Q VMIN_i_A1_D
            VMIN_i_A1_Q VABD_i_A1_D VABD_i_A1_Q VABA_A1_D VABA_A1_Q SHA1SU0_A1 VPADD_f_A1
            VMUL_f_A1_D VMUL_f_A1_Q VCGE_r_A2_D VCGE_r_A2_Q VACGE_A1_D VACGE_A1_Q VPMAX_f_A1
            VMAXNM_A1_D VMAXNM_A1_Q VEOR_A1_D VEOR_A1_Q VMUL_i_A1_D VMUL_i_A1_Q SHA256H_A1
            VPMAX_i_A1 VBSL_A1_D VBSL_A1_Q VPMIN_i_A1 SHA256H2_A1 VABD_f_A1_D VABD_f_A1_Q
            VCGT_r_A2_D VCGT_r_A2_Q VACGT_A1_D VACGT_A1_Q VPMIN_f_A1 VMINNM_A1_D VMINNM_A1_Q
            VSUB_i_A1_D VSUB_i_A1_Q VBIT_A1_D VBIT_A1_Q VCEQ_r_A1_D VCEQ_r_A1_Q VMLS_i_A1_D
            VMLS_i_A1_Q VQRDMULH_A1_D VQRDMULH_A1_Q SHA256SU1_A1 VQRDMLAH_A1_D VQRDMLAH_A1_Q
            VBIF_A1_D VBIF_A1_Q VQRDMLSH_A1_D VQRDMLSH_A1_Q;
        A32::uncond_as::advsimddp::a_simd_12reg::simd1reg_imm: VMOV_i_A1_D VMOV_i_A1_Q VMVN_i_A1_D
            VMVN_i_A1_Q VORR_i_A1_D VORR_i_A1_Q VBIC_i_A1_D VBIC_i_A1_Q VMOV_i_A3_D VMOV_i_A3_Q
            VMVN_i_A2_D VMVN_i_A2_Q VORR_i_A2_D VORR_i_A2_Q VBIC_i_A2_D VBIC_i_A2_Q VMOV_i_A4_D
            VMOV_i_A4_Q VMVN_i_A3_D VMVN_i_A3_Q VMOV_i_A5_D VMOV_i_A5_Q;
        A32::uncond_as::advsimddp::a_simd_12reg::simd2reg_shift: VSHR_A1_D VSHR_A1_Q VSRA_A1_D
            VSRA_A1_Q VMOVL_A1 VRSHR_A1_D VRSHR_A1_Q VRSRA_A1_Q VRSRA_A1_D VQSHL_i_A1_D
            VQSHLU_i_A1_D VQSHL_i_A1_Q VQSHLU_i_A1_Q VQSHRN_A1 VQSHRUN_A1 VQRSHRN_A1 VQRSHRUN_A1
            VSHLL_A1 VCVT_xs_A1_D VCVT_xs_A1_Q VSHL_i_A1_D VSHL_i_A1_Q VSHRN_A1 VRSHRN_A1 VSRI_A1_D
            VSRI_A1_Q VSLI_A1_D VSLI_A1_Q;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd2reg_dup: VDUP_s_A1_D VDUP_s_A1_Q;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd2reg_misc: VREV64_A1_D VREV64_A1_Q
            VREV32_A1_D VREV32_A1_Q VREV16_A1_D VREV16_A1_Q VPADDL_A1_D VPADDL_A1_Q AESE_A1 AESD_A1
            AESMC_A1 AESIMC_A1 VCLS_A1_D VCLS_A1_Q VSWP_A1_D VSWP_A1_Q VCLZ_A1_D VCLZ_A1_Q
            VCNT_A1_D VCNT_A1_Q VMVN_r_A1_D VMVN_r_A1_Q VPADAL_A1_D VPADAL_A1_Q VQABS_A1_D
            VQABS_A1_Q VQNEG_A1_D VQNEG_A1_Q VCGT_i_A1_D VCGT_i_A1_Q VCGE_i_A1_D VCGE_i_A1_Q
            VCEQ_i_A1_D VCEQ_i_A1_Q VCLE_i_A1_D VCLE_i_A1_Q VCLT_i_A1_D VCLT_i_A1_Q VABS_A1_D
            VABS_A1_Q VNEG_A1_D VNEG_A1_Q SHA1H_A1 VCVT_bfs_A1 VTRN_A1_D VTRN_A1_Q VUZP_A1_D
            VUZP_A1_Q VZIP_A1_D VZIP_A1_Q VMOVN_A1 VQMOVN_A1 VQMOVUN_A1 VSHLL_A2 SHA1SU1_A1
            SHA256SU0_A1 VRINTN_asimd_A1_D VRINTN_asimd_A1_Q VRINTX_asimd_A1_D VRINTX_asimd_A1_Q
            VRINTA_asimd_A1_D VRINTA_asimd_A1_Q VRINTZ_asimd_A1_D VRINTZ_asimd_A1_Q VCVT_sh_A1
            VCVT_hs_A1 VRINTM_asimd_A1_D VRINTM_asimd_A1_Q VRINTP_asimd_A1_D VRINTP_asimd_A1_Q
            VCVTA_asimd_A1_D VCVTA_asimd_A1_Q VCVTN_asimd_A1_D VCVTN_asimd_A1_Q VCVTP_asimd_A1_D
            VCVTP_asimd_A1_Q VCVTM_asimd_A1_D VCVTM_asimd_A1_Q VRECPE_A1_D VRECPE_A1_Q VRSQRTE_A1_D
            VRSQRTE_A1_Q VCVT_is_A1_D VCVT_is_A1_Q;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd2reg_scalar: VMLA_s_A1_D VMLA_s_A1_Q
            VQDMLAL_A2 VMLAL_s_A1 VQDMLSL_A2 VMLS_s_A1_D VMLS_s_A1_Q VQDMULL_A2 VMLSL_s_A1
            VMUL_s_A1_D VMUL_s_A1_Q VMULL_s_A1 VQDMULH_A2_D VQDMULH_A2_Q VQRDMULH_A2_D
            VQRDMULH_A2_Q VQRDMLAH_A2_D VQRDMLAH_A2_Q VQRDMLSH_A2_D VQRDMLSH_A2_Q;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd3reg_diff: VADDL_A1 VADDW_A1 VSUBL_A1
            VADDHN_A1 VSUBW_A1 VSUBHN_A1 VQDMLAL_A1 VABAL_A1 VQDMLSL_A1 VQDMULL_A1 VABDL_i_A1
            VMLAL_i_A1 VMLSL_i_A1 VRADDHN_A1 VRSUBHN_A1 VMULL_i_A1;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd3reg_ext: VEXT_A1_D VEXT_A1_Q;
        A32::uncond_as::advsimddp::a_simd_mulreg::simd3reg_tbl: VTBL_A1 VTBX_A1;
        A32::uncond_as::advsimdls::ldstv_ms: VST4_m_A1_nowb VST4_m_A1_posti VST4_m_A1_postr
            VST1_m_A4_nowb VST1_m_A4_posti VST1_m_A4_postr VST2_m_A2_nowb VST2_m_A2_posti
            VST2_m_A2_postr VST3_m_A1_nowb VST3_m_A1_posti VST3_m_A1_postr VST1_m_A3_nowb
            VST1_m_A3_posti VST1_m_A3_postr VST1_m_A1_nowb VST1_m_A1_posti VST1_m_A1_postr
            VST2_m_A1_nowb VST2_m_A1_posti VST2_m_A1_postr VST1_m_A2_nowb VST1_m_A2_posti
            VST1_m_A2_postr VLD4_m_A1_nowb VLD4_m_A1_posti VLD4_m_A1_postr VLD1_m_A4_nowb
            VLD1_m_A4_posti VLD1_m_A4_postr VLD2_m_A2_nowb VLD2_m_A2_posti VLD2_m_A2_postr
            VLD3_m_A1_nowb VLD3_m_A1_posti VLD3_m_A1_postr VLD1_m_A3_nowb VLD1_m_A3_posti
            VLD1_m_A3_postr VLD1_m_A1_nowb VLD1_m_A1_posti VLD1_m_A1_postr VLD2_m_A1_nowb
            VLD2_m_A1_posti VLD2_m_A1_postr VLD1_m_A2_nowb VLD1_m_A2_posti VLD1_m_A2_postr;
        A32::uncond_as::advsimdls::ldstv_ssone: VST1_1_A1_nowb VST1_1_A1_posti VST1_1_A1_postr
            VST2_1_A1_nowb VST2_1_A1_posti VST2_1_A1_postr VST3_1_A1_nowb VST3_1_A1_posti
            VST3_1_A1_postr VST4_1_A1_nowb VST4_1_A1_posti VST4_1_A1_postr VST1_1_A2_nowb
            VST1_1_A2_posti VST1_1_A2_postr VST2_1_A2_nowb VST2_1_A2_posti VST2_1_A2_postr
            VST3_1_A2_nowb VST3_1_A2_posti VST3_1_A2_postr VST4_1_A2_nowb VST4_1_A2_posti
            VST4_1_A2_postr VST1_1_A3_nowb VST1_1_A3_posti VST1_1_A3_postr VST2_1_A3_nowb
            VST2_1_A3_posti VST2_1_A3_postr VST3_1_A3_nowb VST3_1_A3_posti VST3_1_A3_postr
            VST4_1_A3_nowb VST4_1_A3_posti VST4_1_A3_postr VLD1_1_A1_nowb VLD1_1_A1_posti
            VLD1_1_A1_postr VLD2_1_A1_nowb VLD2_1_A1_posti VLD2_1_A1_postr VLD3_1_A1_nowb
            VLD3_1_A1_posti VLD3_1_A1_postr VLD4_1_A1_nowb VLD4_1_A1_posti VLD4_1_A1_postr
            VLD1_1_A2_nowb VLD1_1_A2_posti VLD1_1_A2_postr VLD2_1_A2_nowb VLD2_1_A2_posti
            VLD2_1_A2_postr VLD3_1_A2_nowb VLD3_1_A2_posti VLD3_1_A2_postr VLD4_1_A2_nowb
            VLD4_1_A2_posti VLD4_1_A2_postr VLD1_1_A3_nowb VLD1_1_A3_posti VLD1_1_A3_postr
            VLD2_1_A3_nowb VLD2_1_A3_posti VLD2_1_A3_postr VLD3_1_A3_nowb VLD3_1_A3_posti
            VLD3_1_A3_postr VLD4_1_A3_nowb VLD4_1_A3_posti VLD4_1_A3_postr;
        A32::uncond_as::advsimdls::ldv_ssall: VLD1_a_A1_nowb VLD1_a_A1_posti VLD1_a_A1_postr
            VLD2_a_A1_nowb VLD2_a_A1_posti VLD2_a_A1_postr VLD3_a_A1_nowb VLD3_a_A1_posti
            VLD3_a_A1_postr VLD4_a_A1_nowb VLD4_a_A1_posti VLD4_a_A1_postr;
        A32::uncond_as::uncondhints::barriers: CLREX_A1 DSB_A1 SSBB_A1 PSSBB_A1 DMB_A1 ISB_A1 SB_A1;
        A32::uncond_as::uncondhints::preload_imm: PLI_i_A1 PLD_l_A1 PLD_i_A1 PLDW_i_A1;
        A32::uncond_as::uncondhints::preload_reg: PLI_r_A1_RRX PLI_r_A1 PLD_r_A1 PLD_r_A1_RRX
            PLDW_r_A1 PLDW_r_A1_RRX;
        A32::uncond_as::uncondmisc::cps: SETEND_A1 CPS_A1_AS CPSID_A1_AS CPSID_A1_ASM CPSIE_A1_AS
            CPSIE_A1_ASM;
        A32::uncond_as::uncondmisc::setpan: SETPAN_A1;
    }
}
